package fleet

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Worker is the registration of one conn-worker process. It lives in the store under a TTL and is renewed.
type Worker struct {
	ID      tunnel.WorkerID `json:"worker_id"`
	Host    string          `json:"host"`
	Version string          `json:"version"`
	// Instance differs between two processes with one id; it is empty for a version that keeps no lease of the whole worker. PID and
	// Started say to people which process it is, and Process to another process of its host.
	Instance string    `json:"instance,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Process  Process   `json:"process,omitzero"`
	// Capacity is the number of slots the worker is willing to hold; 0 while it knows no proxy to hand flows to.
	Capacity int `json:"capacity"`
	// Held is how many slots the worker held when it wrote the record, for supervisors that plan only for some of them.
	Held int `json:"held,omitempty"`
	// Tunnels lists what the worker has credentials for; it can hold slots of no other tunnel.
	Tunnels []TunnelRef `json:"tunnels"`
	// Families are the versions of IP in which the worker's host has a route to the edge: "4", "6" or "46"; empty if it is not known.
	Families string `json:"families,omitempty"`
	// Draining workers get no new slots; their slots move to other workers, make before break.
	Draining bool `json:"draining,omitempty"`
	// Marks says that the worker marks the tunnels whose slots it changed. Supervisors have to look for the changes of others.
	Marks bool `json:"marks,omitempty"`
}

// Process names a process of a host for good: a number is used again, but not with the same start.
type Process struct {
	// Boot is the boot of the host, Namespace the process namespace.
	Boot      string `json:"boot,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	PID       int    `json:"pid,omitempty"`
	// Start is when the process began, in a unit of its host.
	Start uint64 `json:"start,omitempty"`
}

// Listing is what supervisors read of a deployment all the time.
type Listing struct {
	// Workers are the workers that are registered now, in the order of their ids.
	Workers []Worker
	// Marks is the version of the marks. Marked are the tunnels that were marked since the version that the caller had seen.
	Marks  uint64
	Marked []tunnel.ID
	// Desired says that the desired state or the commands were marked since then.
	Desired bool
}

// TunnelRef is what others may know of a tunnel that a worker can serve: never its secret.
type TunnelRef struct {
	ID tunnel.ID `json:"tunnel_id"`
	// AccountHash is FNV-1a 32 of the account tag modulo 100 (docs/spec/wire.md 2.4), for percentage decisions.
	AccountHash uint8 `json:"account_hash"`
	// Pool names the edge pool to use; empty is the default pool.
	Pool string `json:"pool,omitempty"`
	// Region is the Endpoint of the credentials, usually empty.
	Region string `json:"region,omitempty"`
	// Protocol is the setting of the operator: quic, http2, or empty, which lets the worker choose.
	Protocol tunnel.Protocol `json:"protocol,omitempty"`
	// IPVersion restricts edge addresses to one family: "4" or "6"; empty or "auto" is both.
	IPVersion string `json:"ip_version,omitempty"`
	// Connections is the number of connections that the operator has set; 0 is the supervisor's default.
	Connections uint8 `json:"connections,omitempty"`
	// Named says that the worker knows the connector id of the tunnel, and gives it back to a store that lost it.
	Named bool `json:"named,omitempty"`
}

// Proxy is the registration of one proxy process.
type Proxy struct {
	ID      tunnel.ProxyID `json:"proxy_id"`
	Host    string         `json:"host"`
	Version string         `json:"version"`
	// Endpoint is where the proxy's link listener is: "unix:/path" or "tcp:host:port".
	Endpoint string `json:"endpoint"`
	// Instance differs between two runs of a proxy: a new run has lost the configurations that were pushed to the last one.
	Instance string `json:"instance,omitempty"`
	Draining bool   `json:"draining,omitempty"`
}
