package adminclient

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Tunnel is a tunnel as operators see it; it holds no secret.
type Tunnel struct {
	ID         tunnel.ID `json:"id"`
	Name       string    `json:"name"`
	AccountTag string    `json:"account_tag"`
	CreatedAt  time.Time `json:"created_at"`
	// Connections counts the registered connections of all connectors.
	Connections int `json:"connections"`
}

// CreateTunnelRequest is the body of POST /v1/tunnels.
type CreateTunnelRequest struct {
	Name string `json:"name"`
}

// TunnelCredentials is the response that holds a secret: the tunnel, its credentials file and its run token, both in
// the reference's formats (docs/spec/wire.md 13).
type TunnelCredentials struct {
	Tunnel      Tunnel          `json:"tunnel"`
	Credentials json.RawMessage `json:"credentials"`
	Token       string          `json:"token"`
}

// Route sends a host or a public port to a tunnel.
type Route struct {
	// Host is an exact host, a wildcard "*.example.com" or the catch-all "*"; or a port, "tcp://:2222" or "udp://:53".
	Host       string    `json:"host"`
	TunnelID   tunnel.ID `json:"tunnel_id"`
	TunnelName string    `json:"tunnel_name,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	PortTarget
	// Bound is where a port listens, and Fault says why it does not.
	Bound string `json:"bound,omitempty"`
	Fault string `json:"fault,omitempty"`
}

// PortTarget is where the traffic of a port goes; hosts have none.
type PortTarget struct {
	// To is IP:PORT in the tunnel's private network.
	To string `json:"to,omitempty"`
	// HostName is the host of an ingress rule with a stream service, instead of To.
	HostName string `json:"host_name,omitempty"`
	// ProxyProtocol is v1 or v2, or empty for none.
	ProxyProtocol string `json:"proxy_protocol,omitempty"`
	// Idle is a duration such as "1h"; empty is the edge's setting.
	Idle string `json:"idle,omitempty"`
}

// AddRouteRequest is the body of POST /v1/routes.
type AddRouteRequest struct {
	Host string `json:"host"`
	// Tunnel is a name or an id.
	Tunnel string `json:"tunnel"`
	PortTarget
}

// ManagementTokenRequest is the body of POST /v1/tunnels/REF/management/RESOURCE.
type ManagementTokenRequest struct {
	// Actor is who uses the token. Of two log streams of one actor the later one replaces the earlier one.
	Actor string `json:"actor,omitempty"`
}

// ManagementToken gives access to the management service of a tunnel's connectors for a while.
type ManagementToken struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
	// Host is the host name that requests name.
	Host string `json:"host"`
	// URLs are addresses of the edge, as http(s)://host:port, that take such requests.
	URLs []string `json:"urls"`
}

// PingRequest is the body of POST /v1/tunnels/REF/ping.
type PingRequest struct {
	Destination string `json:"destination"`
	// TTL 0 is 64, TimeoutMillis 0 is 5000.
	TTL           uint8 `json:"ttl,omitempty"`
	Size          int   `json:"size,omitempty"`
	TimeoutMillis int   `json:"timeout_ms,omitempty"`
}

// PingReply is the reply to a ping: the echo, or an ICMP error of a router or of the host.
type PingReply struct {
	From netip.Addr `json:"from"`
	// Kind is echo_reply, time_exceeded, unreachable or other.
	Kind      string `json:"kind"`
	Type      uint8  `json:"type"`
	Code      uint8  `json:"code"`
	Size      int    `json:"size"`
	RTTMicros int64  `json:"rtt_us"`
}

// Connection is one registered connection of a connector.
type Connection struct {
	ID          string             `json:"id"`
	TunnelID    tunnel.ID          `json:"tunnel_id"`
	ConnectorID tunnel.ConnectorID `json:"connector_id"`
	ConnIndex   tunnel.ConnIndex   `json:"conn_index"`
	Epoch       tunnel.Epoch       `json:"epoch,omitempty"`
	Protocol    tunnel.Protocol    `json:"protocol"`
	State       string             `json:"state"`
	Version     string             `json:"version"`
	Arch        string             `json:"arch"`
	Features    []string           `json:"features,omitempty"`
	EdgeAddr    string             `json:"edge_addr"`
	RemoteAddr  string             `json:"remote_addr"`
	Since       time.Time          `json:"since"`
	InFlight    int64              `json:"in_flight"`
	// LocalConfig is the configuration that the connector uploaded for display (docs/spec/wire.md 8.3).
	LocalConfig json.RawMessage `json:"local_config,omitempty"`
}

// Configuration is the configuration that the edge pushes to the connectors of a tunnel.
type Configuration struct {
	Version   int32           `json:"version"`
	UpdatedAt time.Time       `json:"updated_at"`
	Config    json.RawMessage `json:"config"`
	// Connections are the active connections of the tunnel.
	Connections []ConfigurationState `json:"connections"`
}

// ConfigurationState is the state of the configuration on one connection.
type ConfigurationState struct {
	ID          string             `json:"id"`
	ConnectorID tunnel.ConnectorID `json:"connector_id"`
	ConnIndex   tunnel.ConnIndex   `json:"conn_index"`
	Protocol    tunnel.Protocol    `json:"protocol"`
	// Pushed is the version that was pushed last, Applied the one that the connector uses; -1 is none.
	Pushed  int32 `json:"pushed_version"`
	Applied int32 `json:"applied_version"`
	// Error is why the push was not applied.
	Error string `json:"error,omitempty"`
}
