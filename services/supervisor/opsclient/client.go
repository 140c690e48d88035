package opsclient

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/ops"
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
func (c *Client) Desired(ctx context.Context) (Desired, error) {
	var out Desired
	err := c.api.Call(ctx, http.MethodGet, "/v1/desired", nil, &out)
	return out, err
}

// Tunnel reads the document of a tunnel; its version is 0 if there is none.
func (c *Client) Tunnel(ctx context.Context, id tunnel.ID) (Tunnel, error) {
	var out Tunnel
	err := c.api.Call(ctx, http.MethodGet, "/v1/desired/"+id.String(), nil, &out)
	return out, err
}

// SetTunnel changes the document of a tunnel, if its version still is that of the change. tunnel.ErrConflict says that it is not.
func (c *Client) SetTunnel(ctx context.Context, id tunnel.ID, change desired.Change) (Tunnel, error) {
	var out Tunnel
	err := c.api.Call(ctx, http.MethodPut, "/v1/desired/"+id.String(), change, &out)
	return out, err
}

// Drain drains a worker, or ends that; a worker that is not registered cannot be drained (tunnel.ErrNotFound).
func (c *Client) Drain(ctx context.Context, id tunnel.WorkerID, mark desired.MarkChange) (Worker, error) {
	var out Worker
	err := c.api.Call(ctx, http.MethodPut, "/v1/workers/"+url.PathEscape(string(id))+"/drain", mark, &out)
	return out, err
}

// Slots reads the slots of a tunnel.
func (c *Client) Slots(ctx context.Context, id tunnel.ID) (Slots, error) {
	var out Slots
	err := c.api.Call(ctx, http.MethodGet, "/v1/tunnels/"+id.String()+"/slots", nil, &out)
	return out, err
}

// Submit sends a command, which has ttl to be carried out. The same command again returns its result.
func (c *Client) Submit(ctx context.Context, command desired.Command, ttl time.Duration) (Command, error) {
	var out Command
	err := c.api.Call(ctx, http.MethodPost, "/v1/commands", desired.Submission{Command: command, TTL: ttl.String()}, &out)
	return out, err
}

// Command reads a command with its result; tunnel.ErrNotFound if there is none with the id, or its result is too old.
func (c *Client) Command(ctx context.Context, id string) (Command, error) {
	var out Command
	err := c.api.Call(ctx, http.MethodGet, "/v1/commands/"+url.PathEscape(id), nil, &out)
	return out, err
}

// Configurations reads the versions of a tunnel's configuration, without their documents, and what became of the newest at the proxies.
func (c *Client) Configurations(ctx context.Context, id tunnel.ID) (Configurations, error) {
	var out Configurations
	err := c.api.Call(ctx, http.MethodGet, configPath(id), nil, &out)
	return out, err
}

// SetConfiguration makes the next version of a tunnel's configuration, if its newest version still is that of the change.
// tunnel.ErrConflict says that it is not, tunnel.ErrNotFound that the version to restore is not kept.
func (c *Client) SetConfiguration(ctx context.Context, id tunnel.ID, change ConfigurationChange) (Configurations, error) {
	var out Configurations
	err := c.api.Call(ctx, http.MethodPut, configPath(id), change, &out)
	return out, err
}

// Configuration reads a version with its document; 0 is the newest. It counts as a change, because documents may hold passwords:
// tunnel.ErrNotFound if the version is not kept.
func (c *Client) Configuration(ctx context.Context, id tunnel.ID, number uint64) (Configuration, error) {
	var out Configuration
	err := c.api.Call(ctx, http.MethodPost, configPath(id)+"/document", DocumentRequest{Version: number}, &out)
	return out, err
}

func configPath(id tunnel.ID) string { return "/v1/tunnels/" + id.String() + "/config" }
