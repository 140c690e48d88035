package live

import (
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// Status is the configuration in force, as the ops API shows it.
type Status struct {
	// Rules are the local rules, which serve every tunnel without rules of its own.
	Rules []router.Rule `json:"rules"`
	// Tunnels are those with rules of their own, or with a push that was rejected.
	Tunnels []TunnelStatus `json:"tunnels"`
}

// TunnelStatus is the configuration of one tunnel.
type TunnelStatus struct {
	Tunnel tunnel.ID `json:"tunnel_id"`
	// Version is the version of the pushed configuration in force, -1 for the local one; Error is why the last push was rejected.
	Version int32  `json:"config_version"`
	Error   string `json:"config_error,omitempty"`
	// Number is that of the operator's version in force (docs/configuration.md); 0 when there is none.
	Number uint64 `json:"config_number,omitempty"`
	// RuleCount is the number of its rules. Status leaves out the rules themselves: there may be thousands of tunnels.
	RuleCount int           `json:"rule_count"`
	Rules     []router.Rule `json:"rules,omitempty"`
}

// Status gives the local rules, and each tunnel without its rules.
func (s *State) Status() Status {
	st := Status{Rules: s.table.Default().Rules(), Tunnels: []TunnelStatus{}}
	for _, id := range s.Tunnels() {
		st.Tunnels = append(st.Tunnels, s.tunnelStatus(id))
	}
	return st
}

// TunnelStatus gives the configuration of one tunnel with its rules.
func (s *State) TunnelStatus(id tunnel.ID) TunnelStatus {
	st := s.tunnelStatus(id)
	st.Rules = s.table.For(id).Rules()
	return st
}

func (s *State) tunnelStatus(id tunnel.ID) TunnelStatus {
	st := TunnelStatus{Tunnel: id, RuleCount: len(s.table.For(id).Routes())}
	st.Version, st.Error = s.Version(id)
	now, _ := s.of(id)
	st.Number = now.at.Number
	return st
}
