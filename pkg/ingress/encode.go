package ingress

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// JSON encodes a document in the form that the edge pushes, of which ParseJSON is the reverse. Connectors read durations
// there as whole seconds, so anything else is an error. So is a rule whose conditions or actions could not be read: without them
// it would let more pass than its author wrote.
func (d *Document) JSON() ([]byte, error) {
	j := jsonDocument{OriginRequest: writeOrigin(&d.OriginRequest), Ingress: make([]jsonRule, len(d.Ingress))}
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
	if err := j.wholeSeconds(); err != nil {
		return nil, err
	}
	return json.Marshal(j)
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
