package ingress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
)

// JSON encodes a document in the form that the edge pushes, of which ParseJSON is the reverse. Connectors read durations
// there as whole seconds, so anything else is an error. So is a rule whose conditions or actions could not be read: without them
// it would let more pass than its author wrote.
func (d *Document) JSON() ([]byte, error) {
	j, err := d.form()
	if err != nil {
		return nil, err
	}
	if err := j.wholeSeconds(); err != nil {
		return nil, err
	}
	return json.Marshal(j)
}

// SourceJSON encodes the document that a local set was made from, and what With added, in the form that ParseJSON reads. Durations that are
// no whole seconds are texts, which only Culvert reads. It is nil for a set that was pushed.
func (s *Set) SourceJSON() ([]byte, error) {
	if s.source == nil {
		return nil, nil // there is none, and nothing went wrong
	}
	j, err := s.source.form()
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(j)
	if err != nil || j.wholeSeconds() == nil {
		return b, err
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	return json.Marshal(withTexts(tree))
}

// withTexts puts texts in the place of seconds with a fraction. No other number in a document has one, but for rates.
func withTexts(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if n, is := inner.(json.Number); is && isDuration(key) && strings.ContainsAny(n.String(), ".e") {
				seconds, _ := n.Float64() // it was written from one
				v[key] = time.Duration(math.Round(seconds * float64(time.Second))).String()
				continue
			}
			v[key] = withTexts(inner)
		}
	case []any:
		for i := range v {
			v[i] = withTexts(v[i])
		}
	}
	return v
}

func isDuration(key string) bool {
	switch key {
	case "connectTimeout", "tlsTimeout", "tcpKeepAlive", "keepAliveTimeout", "responseHeaderTimeout":
		return true
	}
	return false
}

// form is the document as it is written.
func (d *Document) form() (*jsonDocument, error) {
	j := &jsonDocument{OriginRequest: writeOrigin(&d.OriginRequest), Ingress: make([]jsonRule, len(d.Ingress))}
	for i := range d.Ingress {
		r := &d.Ingress[i]
		if r.MatchFault != "" {
			return nil, fmt.Errorf("ingress rule %d: match: %s", i, r.MatchFault)
		}
		if r.ActionsFault != "" {
			return nil, fmt.Errorf("ingress rule %d: actions: %s", i, r.ActionsFault)
		}
		j.Ingress[i] = jsonRule{
			Hostname: r.Hostname, Path: r.Path, Service: r.Service, OriginRequest: writeOrigin(&r.OriginRequest),
			Services: r.Services, Balance: r.Balance, Actions: r.Actions, Match: r.Match,
		}
	}
	w := &d.WarpRouting
	j.WarpRouting = &jsonWarp{
		ConnectTimeout: (*seconds)(w.ConnectTimeout), TCPKeepAlive: (*seconds)(w.TCPKeepAlive),
		MaxActiveFlows: w.MaxActiveFlows, IPRules: writeIPRules(w.IPRules), ProxyProtocol: w.ProxyProtocol,
	}
	return j, nil
}

// wholeSeconds fails for a duration that connectors could not read.
func (j *jsonDocument) wholeSeconds() error {
	check := func(where string, object any) error {
		v := reflect.Indirect(reflect.ValueOf(object))
		for i := range v.NumField() {
			s, ok := v.Field(i).Interface().(*seconds)
			if ok && s != nil && time.Duration(*s)%time.Second != 0 {
				return fmt.Errorf("%s: %s is %v: a pushed configuration has whole seconds only", where, v.Type().Field(i).Name, time.Duration(*s))
			}
		}
		return nil
	}
	if err := check("originRequest", j.OriginRequest); err != nil {
		return err
	}
	for i := range j.Ingress {
		if err := check(fmt.Sprintf("ingress rule %d", i), j.Ingress[i].OriginRequest); err != nil {
			return err
		}
	}
	return check("warp-routing", j.WarpRouting)
}

func writeOrigin(o *OriginSpec) *jsonOrigin {
	j := &jsonOrigin{
		ConnectTimeout:         (*seconds)(o.ConnectTimeout),
		TLSTimeout:             (*seconds)(o.TLSTimeout),
		TCPKeepAlive:           (*seconds)(o.TCPKeepAlive),
		NoHappyEyeballs:        o.NoHappyEyeballs,
		KeepAliveConnections:   o.KeepAliveConnections,
		KeepAliveTimeout:       (*seconds)(o.KeepAliveTimeout),
		HTTPHostHeader:         o.HTTPHostHeader,
		OriginServerName:       o.OriginServerName,
		MatchSNIToHost:         o.MatchSNIToHost,
		CAPool:                 o.CAPool,
		NoTLSVerify:            o.NoTLSVerify,
		DisableChunkedEncoding: o.DisableChunkedEncoding,
		HTTP2Origin:            o.HTTP2Origin,
		BastionMode:            o.BastionMode,
		ProxyAddress:           o.ProxyAddress,
		ProxyPort:              o.ProxyPort,
		ProxyType:              o.ProxyType,
		ProxyProtocol:          o.ProxyProtocol,
		ResponseHeaderTimeout:  (*seconds)(o.ResponseHeaderTimeout),
		IPRules:                writeIPRules(o.IPRules),
	}
	if a := o.Access; a != nil {
		j.Access = accessJSON(Access(*a))
	}
	return j
}

func writeIPRules(rules []IPRuleSpec) *[]jsonIPRule {
	if rules == nil {
		return nil
	}
	out := make([]jsonIPRule, len(rules))
	for i, r := range rules {
		out[i] = jsonIPRule(r)
	}
	return &out
}
