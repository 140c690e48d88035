package ingress

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// seconds is a duration in JSON: read as a whole number of seconds or as text with a unit, written as a number of seconds.
type seconds time.Duration

// UnmarshalJSON saturates a number that no duration holds, where wrapping around would make a limit of centuries negative.
func (s *seconds) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return err
		}
		*s = seconds(d)
		return nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return err
	}
	const most = int64(math.MaxInt64 / time.Second)
	switch {
	case n > most:
		*s = math.MaxInt64
	case n < -most:
		*s = math.MinInt64
	default:
		*s = seconds(time.Duration(n) * time.Second)
	}
	return nil
}

// MarshalJSON writes the seconds, with a fraction when there is one.
func (s seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

// The JSON form, read and written. A nil pointer is an absent key.
type (
	jsonDocument struct {
		OriginRequest *jsonOrigin `json:"originRequest"`
		Ingress       []jsonRule  `json:"ingress"`
		WarpRouting   *jsonWarp   `json:"warp-routing"`
	}
	jsonRule struct {
		Hostname      string      `json:"hostname,omitempty"`
		Path          string      `json:"path,omitempty"`
		Service       string      `json:"service,omitempty"`
		OriginRequest *jsonOrigin `json:"originRequest"`

		Services []ServiceSpec `json:"services,omitempty"`
		Balance  *BalanceSpec  `json:"balance,omitempty"`
		Actions  *ActionsSpec  `json:"actions,omitempty"`
		Match    *MatchSpec    `json:"match,omitempty"`
	}
	jsonOrigin struct {
		ConnectTimeout         *seconds      `json:"connectTimeout,omitempty"`
		TLSTimeout             *seconds      `json:"tlsTimeout,omitempty"`
		TCPKeepAlive           *seconds      `json:"tcpKeepAlive,omitempty"`
		NoHappyEyeballs        *bool         `json:"noHappyEyeballs,omitempty"`
		KeepAliveTimeout       *seconds      `json:"keepAliveTimeout,omitempty"`
		KeepAliveConnections   *int          `json:"keepAliveConnections,omitempty"`
		HTTPHostHeader         *string       `json:"httpHostHeader,omitempty"`
		OriginServerName       *string       `json:"originServerName,omitempty"`
		MatchSNIToHost         *bool         `json:"matchSNItoHost,omitempty"`
		CAPool                 *string       `json:"caPool,omitempty"`
		NoTLSVerify            *bool         `json:"noTLSVerify,omitempty"`
		DisableChunkedEncoding *bool         `json:"disableChunkedEncoding,omitempty"`
		BastionMode            *bool         `json:"bastionMode,omitempty"`
		ProxyAddress           *string       `json:"proxyAddress,omitempty"`
		ProxyPort              *uint         `json:"proxyPort,omitempty"`
		ProxyType              *string       `json:"proxyType,omitempty"`
		ResponseHeaderTimeout  *seconds      `json:"responseHeaderTimeout,omitempty"`
		ProxyProtocol          *string       `json:"proxyProtocol,omitempty"`
		IPRules                *[]jsonIPRule `json:"ipRules,omitempty"`
		HTTP2Origin            *bool         `json:"http2Origin,omitempty"`
		Access                 *jsonAccess   `json:"access,omitempty"`
	}
	jsonIPRule struct {
		Prefix *string `json:"prefix"`
		Ports  []int   `json:"ports"`
		Allow  bool    `json:"allow"`
	}
	jsonAccess struct {
		Required    bool     `json:"required,omitempty"`
		TeamName    string   `json:"teamName"`
		AudTag      []string `json:"audTag"`
		Environment string   `json:"environment,omitempty"`
		Issuer      string   `json:"issuer,omitempty"`
	}
	jsonWarp struct {
		ConnectTimeout *seconds      `json:"connectTimeout,omitempty"`
		MaxActiveFlows *uint64       `json:"maxActiveFlows,omitempty"`
		TCPKeepAlive   *seconds      `json:"tcpKeepAlive,omitempty"`
		IPRules        *[]jsonIPRule `json:"ipRules,omitempty"`
		ProxyProtocol  *string       `json:"proxyProtocol,omitempty"`
	}
)

// ParseJSON decodes a configuration as the edge pushes it: keys in any letter case, unknown keys ignored, null like an
// absent key, durations as a whole number of seconds or as text with a unit. null and {} are documents without rules.
func ParseJSON(b []byte) (Document, error) {
	var j jsonDocument
	if err := json.Unmarshal(b, &j); err != nil {
		return Document{}, err // the decoder's text is the whole message
	}
	doc := Document{OriginRequest: j.OriginRequest.spec()}
	if len(j.Ingress) > 0 {
		doc.Ingress = make([]RuleSpec, len(j.Ingress))
	}
	for i, r := range j.Ingress {
		doc.Ingress[i] = RuleSpec{
			Hostname: r.Hostname, Path: r.Path, Service: r.Service, OriginRequest: r.OriginRequest.spec(),
			Services: r.Services, Balance: r.Balance, Actions: r.Actions, Match: r.Match,
		}
	}
	if w := j.WarpRouting; w != nil {
		doc.WarpRouting = WarpSpec{
			ConnectTimeout: (*time.Duration)(w.ConnectTimeout),
			TCPKeepAlive:   (*time.Duration)(w.TCPKeepAlive),
			MaxActiveFlows: w.MaxActiveFlows,
			ProxyProtocol:  w.ProxyProtocol,
			IPRules:        ipRuleSpecs(w.IPRules),
		}
	}
	return doc, nil
}

func (j *jsonOrigin) spec() OriginSpec {
	if j == nil {
		return OriginSpec{}
	}
	o := OriginSpec{
		ConnectTimeout:         (*time.Duration)(j.ConnectTimeout),
		TLSTimeout:             (*time.Duration)(j.TLSTimeout),
		TCPKeepAlive:           (*time.Duration)(j.TCPKeepAlive),
		NoHappyEyeballs:        j.NoHappyEyeballs,
		KeepAliveConnections:   j.KeepAliveConnections,
		KeepAliveTimeout:       (*time.Duration)(j.KeepAliveTimeout),
		HTTPHostHeader:         j.HTTPHostHeader,
		OriginServerName:       j.OriginServerName,
		MatchSNIToHost:         j.MatchSNIToHost,
		CAPool:                 j.CAPool,
		NoTLSVerify:            j.NoTLSVerify,
		DisableChunkedEncoding: j.DisableChunkedEncoding,
		HTTP2Origin:            j.HTTP2Origin,
		BastionMode:            j.BastionMode,
		ProxyAddress:           j.ProxyAddress,
		ProxyPort:              j.ProxyPort,
		ProxyType:              j.ProxyType,
		ResponseHeaderTimeout:  (*time.Duration)(j.ResponseHeaderTimeout),
		ProxyProtocol:          j.ProxyProtocol,
	}
	o.IPRules = ipRuleSpecs(j.IPRules)
	if j.Access != nil {
		o.Access = &AccessSpec{
			Required: j.Access.Required, TeamName: j.Access.TeamName,
			AudTag: j.Access.AudTag, Environment: j.Access.Environment, Issuer: j.Access.Issuer,
		}
	}
	return o
}

func ipRuleSpecs(rules *[]jsonIPRule) []IPRuleSpec {
	if rules == nil {
		return nil
	}
	var out []IPRuleSpec
	for _, r := range *rules {
		out = append(out, IPRuleSpec(r))
	}
	return out
}

// WithMaxActiveFlows gives a copy of the set in which the text of the local flag --max-active-flows takes the place of the
// configured limit.
func (s *Set) WithMaxActiveFlows(text string) (*Set, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("failed to merge local overrides into warp routing configuration:"+
			" failed to parse max-active-flows: %w", err)
	}
	c := *s
	c.WarpRouting.MaxActiveFlows = n
	return &c, nil
}
