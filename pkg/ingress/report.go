package ingress

import "encoding/json"

// jsonReport is what the connector reports to the edge.
type jsonReport struct {
	Flags       map[string]string `json:"__configuration_flags,omitempty"`
	Ingress     []jsonRule        `json:"ingress"`
	WarpRouting jsonWarp          `json:"warp-routing"`
}

// ReportJSON is the rule set as it is reported to the edge at registration: the top-level settings folded into each rule, and
// only what differs from the built-in defaults (docs/spec/ingress.md 2.7). flags are the flags that were set; only the ones that
// the report has a place for are taken.
func (s *Set) ReportJSON(flags map[string]string) ([]byte, error) {
	report := jsonReport{Ingress: make([]jsonRule, len(s.Rules)), WarpRouting: reportWarp(s.WarpRouting)}
	for name, value := range flags {
		if reportedFlag(name) {
			if report.Flags == nil {
				report.Flags = make(map[string]string, len(flags))
			}
			report.Flags[name] = value
		}
	}
	for i := range s.Rules {
		r := &s.Rules[i]
		report.Ingress[i] = jsonRule{
			Hostname: r.Hostname, Path: r.Path, Service: r.Service.Text(), OriginRequest: reportOrigin(&r.Origin),
		}
	}
	return json.Marshal(report)
}

func reportedFlag(name string) bool {
	switch name {
	case "autoupdate-freq", "no-autoupdate", "retries", "protocol", "loglevel", "transport-loglevel", "origincert",
		"metrics", "metrics-update-freq", "edge-ip-version", "edge-bind-address", "max-active-flows":
		return true
	}
	return false
}

// reportOrigin keeps what differs from the defaults.
func reportOrigin(o *OriginRequest) *jsonOrigin {
	d := DefaultOriginRequest()
	j := &jsonOrigin{
		ConnectTimeout:         changed(seconds(o.ConnectTimeout), seconds(d.ConnectTimeout)),
		TLSTimeout:             changed(seconds(o.TLSTimeout), seconds(d.TLSTimeout)),
		TCPKeepAlive:           changed(seconds(o.TCPKeepAlive), seconds(d.TCPKeepAlive)),
		NoHappyEyeballs:        changed(o.NoHappyEyeballs, d.NoHappyEyeballs),
		KeepAliveConnections:   changed(o.KeepAliveConnections, d.KeepAliveConnections),
		KeepAliveTimeout:       changed(seconds(o.KeepAliveTimeout), seconds(d.KeepAliveTimeout)),
		HTTPHostHeader:         changed(o.HTTPHostHeader, d.HTTPHostHeader),
		OriginServerName:       changed(o.OriginServerName, d.OriginServerName),
		MatchSNIToHost:         changed(o.MatchSNIToHost, d.MatchSNIToHost),
		CAPool:                 changed(o.CAPool, d.CAPool),
		NoTLSVerify:            changed(o.NoTLSVerify, d.NoTLSVerify),
		DisableChunkedEncoding: changed(o.DisableChunkedEncoding, d.DisableChunkedEncoding),
		HTTP2Origin:            changed(o.HTTP2Origin, d.HTTP2Origin),
		BastionMode:            changed(o.BastionMode, d.BastionMode),
		ProxyAddress:           changed(o.ProxyAddress, d.ProxyAddress),
		ProxyPort:              changed(o.ProxyPort, d.ProxyPort),
		ProxyType:              changed(o.ProxyType, d.ProxyType),
		ResponseHeaderTimeout:  changed(seconds(o.ResponseHeaderTimeout), seconds(d.ResponseHeaderTimeout)),
		ProxyProtocol:          changed(o.ProxyProtocol.String(), ""),
	}
	if len(o.IPRules) > 0 {
		j.IPRules = jsonIPRules(o.IPRules)
	}
	if o.Access.Required {
		j.Access = accessJSON(o.Access)
	}
	return j
}

// fullOrigin keeps all settings, those that the reference does not have only when they are set.
func fullOrigin(o *OriginRequest) *jsonOrigin {
	return &jsonOrigin{
		ConnectTimeout:         (*seconds)(&o.ConnectTimeout),
		TLSTimeout:             (*seconds)(&o.TLSTimeout),
		TCPKeepAlive:           (*seconds)(&o.TCPKeepAlive),
		NoHappyEyeballs:        &o.NoHappyEyeballs,
		KeepAliveConnections:   &o.KeepAliveConnections,
		KeepAliveTimeout:       (*seconds)(&o.KeepAliveTimeout),
		HTTPHostHeader:         &o.HTTPHostHeader,
		OriginServerName:       &o.OriginServerName,
		MatchSNIToHost:         &o.MatchSNIToHost,
		CAPool:                 &o.CAPool,
		NoTLSVerify:            &o.NoTLSVerify,
		DisableChunkedEncoding: &o.DisableChunkedEncoding,
		HTTP2Origin:            &o.HTTP2Origin,
		BastionMode:            &o.BastionMode,
		ProxyAddress:           &o.ProxyAddress,
		ProxyPort:              &o.ProxyPort,
		ProxyType:              &o.ProxyType,
		ResponseHeaderTimeout:  changed(seconds(o.ResponseHeaderTimeout), 0),
		ProxyProtocol:          changed(o.ProxyProtocol.String(), ""),
		IPRules:                jsonIPRules(o.IPRules),
		Access:                 accessJSON(o.Access),
	}
}

// changed is v unless it is the default.
func changed[T comparable](v, byDefault T) *T {
	if v == byDefault {
		return nil
	}
	return &v
}

func accessJSON(a Access) *jsonAccess {
	return &jsonAccess{
		Required: a.Required, TeamName: a.TeamName, AudTag: a.AudTag, Environment: a.Environment, Issuer: a.Issuer,
	}
}

// jsonIPRules gives a pointer to nil when there are no rules, which prints null.
func jsonIPRules(rules []IPRule) *[]jsonIPRule {
	var out []jsonIPRule
	for _, r := range rules {
		prefix := r.prefixText()
		out = append(out, jsonIPRule{Prefix: &prefix, Ports: r.Ports, Allow: r.Allow})
	}
	return &out
}

func reportWarp(w WarpRouting) jsonWarp {
	d := defaultWarpRouting()
	j := jsonWarp{
		ConnectTimeout: changed(seconds(w.ConnectTimeout), seconds(d.ConnectTimeout)),
		MaxActiveFlows: changed(w.MaxActiveFlows, d.MaxActiveFlows),
		TCPKeepAlive:   changed(seconds(w.TCPKeepAlive), seconds(d.TCPKeepAlive)),
		ProxyProtocol:  changed(w.ProxyProtocol.String(), ""),
	}
	if len(w.IPRules) > 0 {
		j.IPRules = jsonIPRules(w.IPRules)
	}
	return j
}

// The response of the /config endpoint.
type (
	jsonState struct {
		Version int32     `json:"version"`
		Config  jsonRules `json:"config"`
	}
	jsonRules struct {
		Ingress       []jsonLiveRule `json:"ingress"`
		WarpRouting   jsonWarp       `json:"warp-routing"`
		OriginRequest *jsonOrigin    `json:"originRequest"`
	}
	jsonLiveRule struct {
		Hostname      string      `json:"hostname"`
		Path          *string     `json:"path"`
		Service       string      `json:"service"`
		Handlers      []struct{}  `json:"Handlers"`
		OriginRequest *jsonOrigin `json:"originRequest"`
	}
)

// ConfigJSON is the response of the /config endpoint: every effective value, passwords left out (docs/spec/ingress.md 12.5).
func (s *Set) ConfigJSON(version int32) ([]byte, error) {
	top := s.OriginRequest
	state := jsonState{Version: version, Config: jsonRules{
		Ingress:       make([]jsonLiveRule, len(s.Rules)),
		WarpRouting:   reportWarp(s.WarpRouting),
		OriginRequest: fullOrigin(&top),
	}}
	for i := range s.Rules {
		origin := s.Rules[i].Origin
		live := jsonLiveRule{
			Hostname: s.Rules[i].Hostname, Service: s.Rules[i].Service.String(), OriginRequest: fullOrigin(&origin),
		}
		if path := s.Rules[i].Path; path != "" {
			live.Path = &path
		}
		if origin.Access.Required {
			live.Handlers = []struct{}{{}}
		}
		state.Config.Ingress[i] = live
	}
	return json.Marshal(state)
}
