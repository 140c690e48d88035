package command

import (
	"github.com/culvert-tunnel/culvert/cli/internal/monitor"
	"github.com/culvert-tunnel/culvert/cli/internal/stack"
)

// shown is what the metrics listener shows of st and of the flags that were given.
func shown(st *stack.Stack, flags map[string]string) monitor.Source {
	return monitor.Source{Config: st.ConfigJSON, Flags: flags, State: func() monitor.State {
		now := st.State()
		state := monitor.State{Tunnel: now.Tunnel, Connector: now.Connector, Stopping: now.Stopping, ICMPSources: now.ICMPSources}
		for _, c := range now.Connections {
			state.Connections = append(state.Connections, monitor.Connection{Index: c.Index, Protocol: c.Protocol, Edge: c.Edge})
		}
		return state
	}}
}
