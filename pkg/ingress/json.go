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
		Hostname      string      `json:"hostname,omitempty" doc:"host, or *.example.com"`
		Path          string      `json:"path,omitempty" doc:"regular expression on the decoded path"`
		Service       string      `json:"service,omitempty" doc:"origin of the requests"`
		OriginRequest *jsonOrigin `json:"originRequest"`

		Services []ServiceSpec `json:"services,omitempty" doc:"several origins, which replace service"`
		Balance  *BalanceSpec  `json:"balance,omitempty" doc:"how requests are spread over services"`
		Actions  *ActionsSpec  `json:"actions,omitempty" doc:"what happens to a request besides"`
		Match    *MatchSpec    `json:"match,omitempty" doc:"conditions beside hostname and path"`
	}
	jsonOrigin struct {
		ConnectTimeout         *seconds      `json:"connectTimeout,omitempty" doc:"limit of opening a connection to the origin, such as 30s"`
		TLSTimeout             *seconds      `json:"tlsTimeout,omitempty" doc:"limit of the TLS handshake"`
		TCPKeepAlive           *seconds      `json:"tcpKeepAlive,omitempty" doc:"time between TCP keepalives"`
		NoHappyEyeballs        *bool         `json:"noHappyEyeballs,omitempty" doc:"do not race IPv4 against IPv6"`
		KeepAliveTimeout       *seconds      `json:"keepAliveTimeout,omitempty" doc:"how long an unused connection is kept"`
		KeepAliveConnections   *int          `json:"keepAliveConnections,omitempty" doc:"unused connections that are kept"`
		HTTPHostHeader         *string       `json:"httpHostHeader,omitempty" doc:"Host that the origin sees"`
		OriginServerName       *string       `json:"originServerName,omitempty" doc:"name in the certificate of the origin"`
		MatchSNIToHost         *bool         `json:"matchSNItoHost,omitempty" doc:"the name in the certificate is the Host of the request"`
		CAPool                 *string       `json:"caPool,omitempty" doc:"PEM file with further CA certificates"`
		NoTLSVerify            *bool         `json:"noTLSVerify,omitempty" doc:"accept any certificate"`
		DisableChunkedEncoding *bool         `json:"disableChunkedEncoding,omitempty" doc:"no chunked request bodies"`
		BastionMode            *bool         `json:"bastionMode,omitempty" doc:"the client names the destination"`
		ProxyAddress           *string       `json:"proxyAddress,omitempty" doc:"without effect"`
		ProxyPort              *uint         `json:"proxyPort,omitempty" doc:"without effect"`
		ProxyType              *string       `json:"proxyType,omitempty" doc:"socks: the client of a byte stream speaks SOCKS5"`
		ResponseHeaderTimeout  *seconds      `json:"responseHeaderTimeout,omitempty" doc:"limit of the time to the head of the response"`
		ProxyProtocol          *string       `json:"proxyProtocol,omitempty" doc:"v1 or v2: header at the start of a byte stream"`
		IPRules                *[]jsonIPRule `json:"ipRules,omitempty" doc:"where socks-proxy, bastion and private networks may lead"`
		HTTP2Origin            *bool         `json:"http2Origin,omitempty" doc:"HTTP/2 to https origins"`
		Access                 *jsonAccess   `json:"access,omitempty" doc:"demand an access token"`
	}
	jsonIPRule struct {
		Prefix *string `json:"prefix"`
		Ports  []int   `json:"ports"`
		Allow  bool    `json:"allow"`
	}
	jsonAccess struct {
		Required    bool     `json:"required,omitempty" doc:"refuse requests without a token"`
		TeamName    string   `json:"teamName"`
		AudTag      []string `json:"audTag"`
		Environment string   `json:"environment,omitempty" doc:"fed: the other issuer"`
		Issuer      string   `json:"issuer,omitempty" doc:"URL of another OpenID Connect issuer"`
	}
	jsonWarp struct {
		ConnectTimeout *seconds      `json:"connectTimeout,omitempty" doc:"limit of opening a connection to the origin, such as 30s"`
		MaxActiveFlows *uint64       `json:"maxActiveFlows,omitempty" doc:"flows of private networks at a time; 0 is no limit"`
		TCPKeepAlive   *seconds      `json:"tcpKeepAlive,omitempty" doc:"time between TCP keepalives"`
		IPRules        *[]jsonIPRule `json:"ipRules,omitempty" doc:"where socks-proxy, bastion and private networks may lead"`
		ProxyProtocol  *string       `json:"proxyProtocol,omitempty" doc:"v1 or v2: header at the start of a byte stream"`
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
	for i := range j.Ingress {
		doc.Ingress[i] = j.Ingress[i].spec()
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

func (r *jsonRule) spec() RuleSpec {
	return RuleSpec{
		Hostname: r.Hostname, Path: r.Path, Service: r.Service, OriginRequest: r.OriginRequest.spec(),
		Services: r.Services, Balance: r.Balance, Actions: r.Actions, Match: r.Match,
	}
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
