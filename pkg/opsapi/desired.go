package opsapi

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Desired is all that is desired.
type Desired struct {
	// Version grows with each change of anything in it.
	Version uint64          `json:"version"`
	Tunnels []DesiredTunnel `json:"tunnels"`
	Workers []WorkerMark    `json:"workers"`
	// Commands are those that wait.
	Commands []Command `json:"commands"`
	// Damaged are stored documents that cannot be read.
	Damaged []string `json:"damaged,omitempty"`
}

// DesiredTunnel is the document of a tunnel; one with version 0 is not stored.
type DesiredTunnel struct {
	ID tunnel.ID `json:"tunnel_id"`
	desired.Document
}

// WorkerMark is the mark of a worker.
type WorkerMark struct {
	ID tunnel.WorkerID `json:"worker_id"`
	desired.Mark
}

// Command is a command with its result.
type Command struct {
	desired.Command
	desired.Result
	// Expires is when a pending command is not carried out any more.
	Expires time.Time `json:"expires_at,omitzero"`
}

// TunnelSlots are the slots of a tunnel as the store has them.
type TunnelSlots struct {
	Tunnel    tunnel.ID          `json:"tunnel_id"`
	Connector tunnel.ConnectorID `json:"connector_id"`
	Slots     []lease.Record     `json:"slots"`
}

// Configurations are the versions of a tunnel's configuration, the oldest first, whoever sent them.
type Configurations struct {
	Tunnel   tunnel.ID     `json:"tunnel_id"`
	Versions []Version     `json:"versions"`
	Proxies  []ProxyResult `json:"proxies"`
	// Damaged are stored parts that cannot be read.
	Damaged []string `json:"damaged,omitempty"`
}

// Version says who wrote a version, when and where.
type Version struct {
	rules.Head
	// AllTunnels says that it is of the local rules for all tunnels without their own.
	AllTunnels bool `json:"all_tunnels,omitempty" doc:"whether it is of the local rules for all tunnels without their own"`
	// InForceAt are the proxies that serve it.
	InForceAt []string `json:"in_force_at,omitempty" doc:"proxies that serve it"`
}

// Newest is the newest version that an operator put into the store, which proxies follow, or the zero Version.
func (c Configurations) Newest() Version {
	for _, v := range slices.Backward(c.Versions) {
		if v.Source == rules.SourceAPI {
			return v
		}
	}
	return Version{}
}

// State is what became of the newest version at all proxies together: it is pending as long as it is at one of them, and where
// there is none.
func (c Configurations) State() rules.State {
	out := rules.InForce
	for _, p := range c.Proxies {
		if p.State == rules.Pending {
			return rules.Pending
		}
		if p.State == rules.Rejected {
			out = rules.Rejected
		}
	}
	if len(c.Proxies) == 0 {
		return rules.Pending
	}
	return out
}

// Pending reports whether a proxy has not said anything about the newest version yet.
func (c Configurations) Pending() bool { return c.State() == rules.Pending }

// InForce reports whether all proxies have put the newest version in force.
func (c Configurations) InForce() bool { return c.State() == rules.InForce }

// ProxyResult is what became of the newest version at a proxy.
type ProxyResult struct {
	rules.Result
	// State is empty where no operator has put one into the store.
	State rules.State `json:"state,omitempty"`
}

// Configuration is a version with its document.
type Configuration struct {
	Tunnel tunnel.ID `json:"tunnel_id"`
	rules.Head
	Config json.RawMessage `json:"config"`
}

// ConfigurationChange is a new version that an operator asks for.
type ConfigurationChange = rules.Change

// DocumentRequest asks for the document of a version; 0 is the newest.
type DocumentRequest struct {
	Version uint64 `json:"version"`
}

// Resealed says which versions were sealed with the first key, and which no key opens.
type Resealed struct {
	Tunnel     tunnel.ID `json:"tunnel_id" doc:"id of the tunnel"`
	Sealed     []uint64  `json:"sealed" doc:"versions that were sealed anew"`
	Unreadable []uint64  `json:"unreadable" doc:"versions that no key opens"`
}
