package opsclient

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Client calls the API of one supervisor. Any of a deployment does: they share the store.
type Client struct{ api *ops.Client }

// Dial makes a client for address: "unix:/path" or "http(s)://host:port", with the token of the listener unless it is empty. It connects
// with the first call.
func Dial(address string, token tunnel.Secret) (*Client, error) {
	api, err := ops.Dial("supervisor", address, token, nil)
	if err != nil {
		return nil, err
	}
	return &Client{api: api}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.api.Close() }

// Desired reads all that is desired.
func (c *Client) Desired(ctx context.Context) (opsapi.Desired, error) {
	var out opsapi.Desired
	err := c.api.Call(ctx, http.MethodGet, "/v1/desired", nil, &out)
	return out, err
}

// Tunnel reads the document of a tunnel; its version is 0 if there is none.
func (c *Client) Tunnel(ctx context.Context, id tunnel.ID) (opsapi.DesiredTunnel, error) {
	var out opsapi.DesiredTunnel
	err := c.api.Call(ctx, http.MethodGet, "/v1/desired/"+id.String(), nil, &out)
	return out, err
}

// SetTunnel changes the document of a tunnel, if its version still is that of the change. tunnel.ErrConflict says that it is not.
func (c *Client) SetTunnel(ctx context.Context, id tunnel.ID, change desired.Change) (opsapi.DesiredTunnel, error) {
	var out opsapi.DesiredTunnel
	err := c.api.Call(ctx, http.MethodPut, "/v1/desired/"+id.String(), change, &out)
	return out, err
}

// Drain drains a worker, or ends that; a worker that is not registered cannot be drained (tunnel.ErrNotFound).
func (c *Client) Drain(ctx context.Context, id tunnel.WorkerID, mark desired.MarkChange) (opsapi.WorkerMark, error) {
	var out opsapi.WorkerMark
	err := c.api.Call(ctx, http.MethodPut, "/v1/workers/"+url.PathEscape(string(id))+"/drain", mark, &out)
	return out, err
}

// Slots reads the slots of a tunnel.
func (c *Client) Slots(ctx context.Context, id tunnel.ID) (opsapi.TunnelSlots, error) {
	var out opsapi.TunnelSlots
	err := c.api.Call(ctx, http.MethodGet, "/v1/tunnels/"+id.String()+"/slots", nil, &out)
	return out, err
}

// Submit sends a command, which has ttl to be carried out. The same command again returns its result.
func (c *Client) Submit(ctx context.Context, command desired.Command, ttl time.Duration) (opsapi.Command, error) {
	var out opsapi.Command
	err := c.api.Call(ctx, http.MethodPost, "/v1/commands", desired.Submission{Command: command, TTL: ttl.String()}, &out)
	return out, err
}

// Command reads a command with its result; tunnel.ErrNotFound if there is none with the id, or its result is too old.
func (c *Client) Command(ctx context.Context, id string) (opsapi.Command, error) {
	var out opsapi.Command
	err := c.api.Call(ctx, http.MethodGet, "/v1/commands/"+url.PathEscape(id), nil, &out)
	return out, err
}

// Configurations reads the versions of a tunnel's configuration, without their documents, and what became of the newest at the proxies.
func (c *Client) Configurations(ctx context.Context, id tunnel.ID) (opsapi.Configurations, error) {
	var out opsapi.Configurations
	err := c.api.Call(ctx, http.MethodGet, configPath(id), nil, &out)
	return out, err
}

// SetConfiguration makes the next version of a tunnel's configuration, if its newest version still is that of the change.
// tunnel.ErrConflict says that it is not, tunnel.ErrNotFound that the version to restore is not kept.
func (c *Client) SetConfiguration(ctx context.Context, id tunnel.ID, change opsapi.ConfigurationChange) (opsapi.Configurations, error) {
	var out opsapi.Configurations
	err := c.api.Call(ctx, http.MethodPut, configPath(id), change, &out)
	return out, err
}

// Configuration reads a version with its document; 0 is the newest. It counts as a change, because documents may hold passwords:
// tunnel.ErrNotFound if the version is not kept.
func (c *Client) Configuration(ctx context.Context, id tunnel.ID, number uint64) (opsapi.Configuration, error) {
	var out opsapi.Configuration
	err := c.api.Call(ctx, http.MethodPost, configPath(id)+"/document", opsapi.DocumentRequest{Version: number}, &out)
	return out, err
}

// Reseal seals the kept versions of a tunnel anew that are not under the first key of the supervisor.
func (c *Client) Reseal(ctx context.Context, id tunnel.ID) (opsapi.Resealed, error) {
	var out opsapi.Resealed
	err := c.api.Call(ctx, http.MethodPost, configPath(id)+"/reseal", struct{}{}, &out)
	return out, err
}

func configPath(id tunnel.ID) string { return "/v1/tunnels/" + id.String() + "/config" }

// Status reads the whole deployment at a glance.
func (c *Client) Status(ctx context.Context) (opsapi.Status, error) {
	return get[opsapi.Status](ctx, c, "/v1/status")
}

// Tunnels reads a page of the tunnels; an empty cursor begins with the first one.
func (c *Client) Tunnels(ctx context.Context, cursor string) (opsapi.Tunnels, error) {
	return get[opsapi.Tunnels](ctx, c, paged("/v1/tunnels", cursor))
}

// State reads one tunnel with its slots; tunnel.ErrNotFound if nobody knows it.
func (c *Client) State(ctx context.Context, id tunnel.ID) (opsapi.TunnelState, error) {
	return get[opsapi.TunnelState](ctx, c, "/v1/tunnels/"+id.String())
}

// Connectors reads a page of the connectors.
func (c *Client) Connectors(ctx context.Context, cursor string) (opsapi.Connectors, error) {
	return get[opsapi.Connectors](ctx, c, paged("/v1/connectors", cursor))
}

// AllSlots reads a page of the slots of all tunnels.
func (c *Client) AllSlots(ctx context.Context, cursor string) (opsapi.Slots, error) {
	return get[opsapi.Slots](ctx, c, paged("/v1/slots", cursor))
}

// Workers reads a page of the workers.
func (c *Client) Workers(ctx context.Context, cursor string) (opsapi.Workers, error) {
	return get[opsapi.Workers](ctx, c, paged("/v1/workers", cursor))
}

// Proxies reads a page of the proxies.
func (c *Client) Proxies(ctx context.Context, cursor string) (opsapi.Proxies, error) {
	return get[opsapi.Proxies](ctx, c, paged("/v1/proxies", cursor))
}

// Pools reads a page of the edge pools.
func (c *Client) Pools(ctx context.Context, cursor string) (opsapi.Pools, error) {
	return get[opsapi.Pools](ctx, c, paged("/v1/pools", cursor))
}

// Tokens reads a page of the tokens of the API, without their secrets.
func (c *Client) Tokens(ctx context.Context, cursor string) (opsapi.Tokens, error) {
	return get[opsapi.Tokens](ctx, c, paged("/v1/tokens", cursor))
}

// CreateToken makes a token. Its secret is in this response alone; tunnel.ErrConflict says that there is one of that name.
func (c *Client) CreateToken(ctx context.Context, wanted NewToken) (MadeToken, error) {
	var out MadeToken
	err := c.api.Call(ctx, http.MethodPost, "/v1/tokens", wanted, &out)
	return out, err
}

// RevokeToken revokes the token with an id; tunnel.ErrNotFound if there is none.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	return c.api.Call(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(id), nil, nil)
}

// Changes reads a page of the audit log, the newest first.
func (c *Client) Changes(ctx context.Context, cursor string) (opsapi.Changes, error) {
	return get[opsapi.Changes](ctx, c, paged("/v1/audit", cursor))
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var out T
	err := c.api.Call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// paged adds the largest limit and a cursor to a path.
func paged(path, cursor string) string {
	q := url.Values{"limit": {strconv.Itoa(opsapi.MaxLimit)}}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	return path + "?" + q.Encode()
}
