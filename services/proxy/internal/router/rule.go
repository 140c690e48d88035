package router

import (
	"github.com/culvert-tunnel/culvert/pkg/redact"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// Rule is an ingress rule as the ops API shows it.
type Rule struct {
	Rule     int    `json:"rule"`
	Hostname string `json:"hostname,omitempty"`
	Path     string `json:"path,omitempty"`
	// Service is the origin without the password of its URL.
	Service string `json:"service"`
	// Guarded says that the rule demands an access token.
	Guarded bool `json:"guarded,omitempty"`
	// Origins are those of a rule with several.
	Origins []origin.State `json:"origins,omitempty"`
}

// Rules lists the rules of the snapshot in their order; nil when there are none.
func (s *Snapshot) Rules() []Rule {
	var out []Rule
	routes := s.Routes()
	for i := range routes {
		r := &routes[i]
		out = append(out, Rule{
			Rule: r.Index, Hostname: r.Rule.Hostname, Path: r.Rule.Path, Service: redact.URL(r.Origin.Text), Guarded: r.Guard != nil,
		})
		if r.Origins != nil {
			out[len(out)-1].Origins = r.Origins.States()
		}
	}
	return out
}
