package opsclient

import (
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/rules"
)

// The documents of what operators desire, so that callers need no other package for them.
type (
	// Desired is all that is desired.
	Desired = opsapi.Desired
	// Tunnel is what is desired of a tunnel.
	Tunnel = opsapi.DesiredTunnel
	// Worker is the mark of a worker.
	Worker = opsapi.WorkerMark
	// Command is a command with its result.
	Command = opsapi.Command
	// Slots are the slots of a tunnel.
	Slots = opsapi.TunnelSlots
	// Configurations are the versions of a tunnel's configuration.
	Configurations = opsapi.Configurations
	// Configuration is a version with its document.
	Configuration = opsapi.Configuration
	// ConfigurationChange is a new version that an operator asks for.
	ConfigurationChange = opsapi.ConfigurationChange
	// TokenInfo is a token without its secret.
	TokenInfo = opsapi.TokenInfo
	// NewToken is a token to make.
	NewToken = opsapi.NewToken
	// MadeToken is a token with its secret.
	MadeToken = opsapi.MadeToken
	// Change is an entry of the audit log.
	Change = opsapi.Change
	// Status is a deployment at a glance.
	Status = opsapi.Status
	// TunnelState is the state of a tunnel.
	TunnelState = opsapi.Tunnel
	// SlotState is the state of a slot.
	SlotState = opsapi.Slot
	// WorkerState is a registered worker.
	WorkerState = opsapi.Worker
	// ProxyState is a registered proxy.
	ProxyState = opsapi.Proxy
	// Event is something that happened.
	Event = opsapi.Event
	// Version says who wrote a version, when and where.
	Version = opsapi.Version
)

// Diff compares two documents as rules.Diff does.
func Diff(former, latter []byte) (string, error) { return rules.Diff(former, latter) }
