package cfdfile

import (
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// document reads the top level: the keys that make the document, and every other as the value of a flag.
func (d *decoder) document(root *yaml.Node, file *File) {
	fields := map[string]field{
		"tunnel":           value(d, &file.Tunnel),
		"credentials-file": value(d, &file.CredentialsFile),
		"cred-file":        value(d, &file.CredentialsFile),
		"originRequest":    func(n *yaml.Node) { file.Document.OriginRequest = d.origin(n) },
		"warp-routing":     func(n *yaml.Node) { file.Document.WarpRouting = d.warp(n) },
		"ingress": func(n *yaml.Node) {
			for _, item := range d.items(n, "ingress rules") {
				file.Document.Ingress = append(file.Document.Ingress, d.rule(item))
			}
		},
	}
	for _, p := range d.pairs(root, "configuration") {
		if p.key.Kind != yaml.ScalarNode {
			continue
		}
		if read, ok := fields[p.key.Value]; ok {
			read(p.value)
			continue
		}
		if values := d.flag(p.value); len(values) > 0 {
			file.Flags[p.key.Value] = values
		}
	}
}

func (d *decoder) rule(n *yaml.Node) ingress.RuleSpec {
	var r ingress.RuleSpec
	d.object(n, "ingress rule", map[string]field{
		"hostname":      value(d, &r.Hostname),
		"path":          value(d, &r.Path),
		"service":       value(d, &r.Service),
		"originRequest": func(n *yaml.Node) { r.OriginRequest = d.origin(n) },
		"services":      d.extension(own(d, &r.Services)),
		"balance":       d.extension(own(d, &r.Balance)),
		"match": func(n *yaml.Node) {
			if !d.tolerate(n, own(d, &r.Match)) {
				r.MatchFault = "it cannot be read"
			}
		},
		"actions": func(n *yaml.Node) {
			if !d.tolerate(n, own(d, &r.Actions)) {
				r.ActionsFault = "they cannot be read"
			}
		},
	})
	return r
}

func (d *decoder) origin(n *yaml.Node) ingress.OriginSpec {
	var o ingress.OriginSpec
	d.object(n, "originRequest", map[string]field{
		"connectTimeout":         optional(d, &o.ConnectTimeout),
		"tlsTimeout":             optional(d, &o.TLSTimeout),
		"tcpKeepAlive":           optional(d, &o.TCPKeepAlive),
		"noHappyEyeballs":        optional(d, &o.NoHappyEyeballs),
		"keepAliveConnections":   optional(d, &o.KeepAliveConnections),
		"keepAliveTimeout":       optional(d, &o.KeepAliveTimeout),
		"httpHostHeader":         optional(d, &o.HTTPHostHeader),
		"originServerName":       optional(d, &o.OriginServerName),
		"matchSNItoHost":         optional(d, &o.MatchSNIToHost),
		"caPool":                 optional(d, &o.CAPool),
		"noTLSVerify":            optional(d, &o.NoTLSVerify),
		"disableChunkedEncoding": optional(d, &o.DisableChunkedEncoding),
		"http2Origin":            optional(d, &o.HTTP2Origin),
		"bastionMode":            optional(d, &o.BastionMode),
		"proxyAddress":           optional(d, &o.ProxyAddress),
		"proxyPort":              optional(d, &o.ProxyPort),
		"proxyType":              optional(d, &o.ProxyType),
		"responseHeaderTimeout":  d.extension(optional(d, &o.ResponseHeaderTimeout)),
		"proxyProtocol":          d.extension(optional(d, &o.ProxyProtocol)),
		"ipRules":                func(n *yaml.Node) { o.IPRules = d.ipRules(n) },
		"access":                 func(n *yaml.Node) { o.Access = d.access(n) },
	})
	return o
}

func (d *decoder) ipRules(n *yaml.Node) []ingress.IPRuleSpec {
	var rules []ingress.IPRuleSpec
	for _, item := range d.items(n, "ipRules") {
		rules = append(rules, d.ipRule(item))
	}
	return rules
}

func (d *decoder) ipRule(n *yaml.Node) ingress.IPRuleSpec {
	var r ingress.IPRuleSpec
	d.object(n, "ipRules", map[string]field{
		"prefix": optional(d, &r.Prefix),
		"ports":  list(d, &r.Ports, "int"),
		"allow":  value(d, &r.Allow),
	})
	return r
}

// access reads access rules. For null it gives nil, which leaves the rules of the level above.
func (d *decoder) access(n *yaml.Node) *ingress.AccessSpec {
	if isNull(resolve(n)) {
		return nil
	}
	var a ingress.AccessSpec
	d.object(n, "access", map[string]field{
		"required":    value(d, &a.Required),
		"teamName":    value(d, &a.TeamName),
		"audTag":      list(d, &a.AudTag, "string"),
		"environment": value(d, &a.Environment),
		"issuer":      d.extension(value(d, &a.Issuer)),
	})
	return &a
}

func (d *decoder) warp(n *yaml.Node) ingress.WarpSpec {
	var w ingress.WarpSpec
	d.object(n, "warp-routing", map[string]field{
		"connectTimeout": optional(d, &w.ConnectTimeout),
		"tcpKeepAlive":   optional(d, &w.TCPKeepAlive),
		"maxActiveFlows": optional(d, &w.MaxActiveFlows),
		"proxyProtocol":  d.extension(optional(d, &w.ProxyProtocol)),
		"ipRules": func(n *yaml.Node) {
			if !d.tolerate(n, func(n *yaml.Node) { w.IPRules = d.ipRules(n) }) {
				w.IPRules = []ingress.IPRuleSpec{{}} // malformed, so that nothing is allowed
			}
		},
	})
	return w
}

// flag gives the texts of a scalar or of a list of scalars as a command line would hold them, and nothing for all else.
func (d *decoder) flag(n *yaml.Node) []string {
	n = resolve(n)
	if n.Kind != yaml.SequenceNode {
		if text, ok := flagText(n); ok {
			return []string{text}
		}
		return nil
	}
	if !d.spend(n, len(n.Content)) {
		return nil
	}
	values := make([]string, 0, len(n.Content))
	for _, item := range n.Content {
		text, ok := flagText(resolve(item))
		if !ok {
			return nil
		}
		values = append(values, text)
	}
	return values
}

// flagText writes numbers and booleans the way flags read them: 0x10, 1_000 and True are YAML's.
func flagText(n *yaml.Node) (string, bool) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		return "", false
	}
	switch n.ShortTag() {
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return strconv.FormatBool(b), true
		}
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return strconv.FormatInt(i, 10), true
		}
	}
	return n.Value, true
}
