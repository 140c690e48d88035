package adminclient

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Client calls the admin API of one edge.
type Client struct{ api *ops.Client }

// Dial makes a client for address: "unix:/path/admin.sock", a plain path, or "https://host:port" with a bearer token. It connects
// with the first call, and verifies the certificate of the edge with the system's roots.
func Dial(address string, token tunnel.Secret) (*Client, error) {
	return DialTLS(address, token, nil)
}

// DialTLS is Dial with roots for the certificate of the edge: usually that of the edge's own CA, ca.pem in its data directory.
func DialTLS(address string, token tunnel.Secret, roots *x509.CertPool) (*Client, error) {
	api, err := ops.Dial("admin", address, token, roots)
	if err != nil {
		return nil, err
	}
	return &Client{api: api}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.api.Close() }

// CreateTunnel makes a tunnel and returns its credentials; a taken name is tunnel.ErrConflict.
func (c *Client) CreateTunnel(ctx context.Context, name string) (TunnelCredentials, error) {
	var out TunnelCredentials
	err := c.call(ctx, http.MethodPost, "/v1/tunnels", CreateTunnelRequest{Name: name}, &out)
	return out, err
}

// ListTunnels returns all tunnels, sorted by name.
func (c *Client) ListTunnels(ctx context.Context) ([]Tunnel, error) {
	var out []Tunnel
	err := c.call(ctx, http.MethodGet, "/v1/tunnels", nil, &out)
	return out, err
}

// GetTunnel finds a tunnel by name or id.
func (c *Client) GetTunnel(ctx context.Context, ref string) (Tunnel, error) {
	var out Tunnel
	err := c.call(ctx, http.MethodGet, "/v1/tunnels/"+url.PathEscape(ref), nil, &out)
	return out, err
}

// DeleteTunnel removes a tunnel and its routes. If it has connections, force closes them; without force the error is
// tunnel.ErrConflict.
func (c *Client) DeleteTunnel(ctx context.Context, ref string, force bool) error {
	path := "/v1/tunnels/" + url.PathEscape(ref)
	if force {
		path += "?force=true"
	}
	return c.call(ctx, http.MethodDelete, path, nil, nil)
}

// Credentials returns a tunnel's credentials file and run token.
func (c *Client) Credentials(ctx context.Context, ref string) (TunnelCredentials, error) {
	var out TunnelCredentials
	err := c.call(ctx, http.MethodGet, "/v1/tunnels/"+url.PathEscape(ref)+"/credentials", nil, &out)
	return out, err
}

// Token returns a tunnel's run token.
func (c *Client) Token(ctx context.Context, ref string) (string, error) {
	out, err := c.Credentials(ctx, ref)
	return out.Token, err
}

// RotateSecret gives a tunnel a new secret and evicts the connections that registered with the old one. With a grace period the
// old secret stays valid for so long, for new connections, too, so that connectors can be given the new one meanwhile.
func (c *Client) RotateSecret(ctx context.Context, ref string, grace time.Duration) (TunnelCredentials, error) {
	path := "/v1/tunnels/" + url.PathEscape(ref) + "/rotate"
	if grace != 0 {
		path += "?grace=" + url.QueryEscape(grace.String())
	}
	var out TunnelCredentials
	err := c.call(ctx, http.MethodPost, path, nil, &out)
	return out, err
}

// EvictConnection ends one connection, given by the id that ListConnections shows: it gets no new requests, and is closed when the
// running ones have ended. Its connector may connect again.
func (c *Client) EvictConnection(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/v1/connections/"+url.PathEscape(id), nil, nil)
}

// SetConfiguration gives a tunnel a configuration, a JSON object, which is pushed to all its connections. The edge does not
// check its content: Configuration shows whether the connectors have accepted it.
func (c *Client) SetConfiguration(ctx context.Context, ref string, doc json.RawMessage) (Configuration, error) {
	var out Configuration
	err := c.call(ctx, http.MethodPut, "/v1/tunnels/"+url.PathEscape(ref)+"/configuration", doc, &out)
	return out, err
}

// Configuration returns the configuration of a tunnel and the version that each connection has applied. tunnel.ErrNotFound says that
// the connectors have local configurations.
func (c *Client) Configuration(ctx context.Context, ref string) (Configuration, error) {
	var out Configuration
	err := c.call(ctx, http.MethodGet, "/v1/tunnels/"+url.PathEscape(ref)+"/configuration", nil, &out)
	return out, err
}

// Ping sends one echo request through a tunnel and waits for the reply.
func (c *Client) Ping(ctx context.Context, ref string, r PingRequest) (PingReply, error) {
	var out PingReply
	err := c.call(ctx, http.MethodPost, "/v1/tunnels/"+url.PathEscape(ref)+"/ping", r, &out)
	return out, err
}

// ManagementToken makes an access token for a resource of the management service: logs, host_details or admin.
func (c *Client) ManagementToken(ctx context.Context, ref, resource, actor string) (ManagementToken, error) {
	var out ManagementToken
	path := "/v1/tunnels/" + url.PathEscape(ref) + "/management/" + url.PathEscape(resource)
	err := c.call(ctx, http.MethodPost, path, ManagementTokenRequest{Actor: actor}, &out)
	return out, err
}

// AddRoute sends host (exact, "*.domain" or "*") to a tunnel given by name or id. The same route again is fine; a
// host that belongs to another tunnel is tunnel.ErrConflict.
func (c *Client) AddRoute(ctx context.Context, host, tunnelRef string) (Route, error) {
	return c.AddPort(ctx, host, tunnelRef, PortTarget{})
}

// AddPort opens a public port ("tcp://:2222", "udp://127.0.0.1:53"; port 0 takes a free one) and sends its traffic to a
// target in a tunnel. When it returns, the port is open. A port that is in use is tunnel.ErrConflict.
func (c *Client) AddPort(ctx context.Context, listen, tunnelRef string, to PortTarget) (Route, error) {
	var out Route
	err := c.call(ctx, http.MethodPost, "/v1/routes", AddRouteRequest{Host: listen, Tunnel: tunnelRef, PortTarget: to}, &out)
	return out, err
}

// ListRoutes returns all routes: hosts by name, then ports by number.
func (c *Client) ListRoutes(ctx context.Context) ([]Route, error) {
	var out []Route
	err := c.call(ctx, http.MethodGet, "/v1/routes", nil, &out)
	return out, err
}

// DeleteRoute removes the route of a host or a port.
func (c *Client) DeleteRoute(ctx context.Context, host string) error {
	return c.call(ctx, http.MethodDelete, "/v1/routes/"+url.PathEscape(host), nil, nil)
}

// ListConnections returns the registered connections of all tunnels.
func (c *Client) ListConnections(ctx context.Context) ([]Connection, error) {
	var out []Connection
	err := c.call(ctx, http.MethodGet, "/v1/connections", nil, &out)
	return out, err
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	return c.api.Call(ctx, method, path, in, out)
}
