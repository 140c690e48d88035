package opsclient

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Desired is all that is desired.
type Desired struct {
	// Version grows with each change of anything in it.
	Version uint64   `json:"version"`
	Tunnels []Tunnel `json:"tunnels"`
	Workers []Worker `json:"workers"`
	// Commands are those that wait.
	Commands []Command `json:"commands"`
	// Damaged are stored documents that cannot be read.
	Damaged []string `json:"damaged,omitempty"`
}

// Tunnel is the document of a tunnel; one with version 0 is not stored.
type Tunnel struct {
	ID tunnel.ID `json:"tunnel_id"`
	desired.Document
}

// Worker is the mark of a worker.
type Worker struct {
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

// Slots are the slots of a tunnel as the store has them.
type Slots struct {
	Tunnel    tunnel.ID          `json:"tunnel_id"`
	Connector tunnel.ConnectorID `json:"connector_id"`
	Slots     []lease.Record     `json:"slots"`
}
