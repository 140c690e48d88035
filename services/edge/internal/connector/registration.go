package connector

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/admit"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// maxLocalConfig bounds an uploaded configuration, in bytes.
const maxLocalConfig = 1 << 20

var errNotRegistered = errors.New("this session is not registered")

var _ rpc.RegistrationHandler = (*session)(nil)

// Register decides about one registration.
func (c *session) Register(ctx context.Context, req rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		c.attempts++
	}
	if err := admit.Attempt(c.conn != nil, c.attempts).Refusal(nil); err != nil {
		return rpc.ConnectionDetails{}, err
	}
	tunnels := c.server.deps.Tunnels
	log := c.log.With(slog.String(logkey.TunnelID, req.TunnelID.String()),
		slog.String(logkey.ConnectorID, req.Options.ConnectorID.String()), slog.Int(logkey.ConnIndex, int(req.Index)))
	creds := req.Auth
	creds.TunnelID = req.TunnelID
	conn, result, err := c.decide(req, creds)
	c.server.count(result)
	if err != nil {
		log.WarnContext(ctx, "registration refused", slog.String(logkey.Result, string(result)),
			slog.Bool(logkey.TunnelKnown, tunnels.Name(req.TunnelID) != ""))
		return rpc.ConnectionDetails{}, err
	}
	c.conn, c.creds = conn, creds
	c.leavePending()
	close(c.registered)
	log.InfoContext(ctx, "connection registered", slog.String(logkey.ConnectionID, hex.EncodeToString(conn.ID[:])),
		slog.Uint64(logkey.Epoch, uint64(conn.Epoch)), slog.String(logkey.Version, conn.Version), slog.String(logkey.Arch, conn.Arch))
	config, _ := tunnels.Configuration(req.TunnelID)
	return rpc.ConnectionDetails{UUID: conn.ID, Location: c.server.deps.Location, RemotelyManaged: config != nil}, nil
}

// decide checks a registration and puts the connection into the table. A tunnel that is deleted meanwhile takes its connections
// with it when the session looks at the validity of its credentials.
func (c *session) decide(req rpc.RegisterRequest, creds tunnel.Credentials) (conn *registry.Conn, result admit.Result, err error) {
	valid := c.server.deps.Tunnels.Validity(creds, time.Now()).Valid
	if result := admit.Check(valid, admit.WellFormed(req.Options.ConnectorID, req.Options.Features)); result != admit.Accepted {
		return nil, result, result.Refusal(nil)
	}
	if v := c.server.registered.Take(req.TunnelID, 1); v != share.Granted {
		return nil, admit.Limited, admit.Limited.Refusal(fmt.Errorf("too many sessions: %s bound reached", v))
	}
	conn = registry.NewConn(c.info(req), c.sess)
	if err := c.server.table.Register(conn); err != nil {
		c.server.registered.Give(req.TunnelID, 1)
		result := admit.ResultOf(err)
		return nil, result, result.Refusal(err)
	}
	return conn, admit.Accepted, nil
}

func (c *session) info(req rpc.RegisterRequest) registry.Info {
	o := req.Options
	info := registry.Info{
		Slot:     tunnel.Slot{Tunnel: req.TunnelID, Connector: o.ConnectorID, Index: req.Index},
		Epoch:    registry.EpochOf(o.Features),
		Protocol: c.protocol,
		Window:   windowOf(c.protocol),
		Version:  admit.Text(o.Version),
		Arch:     admit.Text(o.Arch),
		Features: admit.Texts(o.Features),
		Local:    c.sess.LocalAddr(),
		Remote:   c.sess.RemoteAddr(),
		Since:    time.Now(),
	}
	_, _ = rand.Read(info.ID[:]) // crypto/rand ends the process rather than fail
	info.ID[6], info.ID[8] = info.ID[6]&0x0f|0x40, info.ID[8]&0x3f|0x80
	return info
}

// Unregister stops new requests; running ones and the session go on (docs/spec/wire.md 8.4).
func (c *session) Unregister(context.Context) error {
	conn := c.connection()
	if conn == nil {
		return errNotRegistered
	}
	c.server.table.Retire(conn, registry.Unregistered)
	return nil
}

// UpdateLocalConfiguration keeps what connection index 0 uploads, for display only.
func (c *session) UpdateLocalConfiguration(_ context.Context, doc []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.conn == nil:
		return errNotRegistered
	case c.conn.Slot.Index != 0:
		return errors.New("only connection index 0 uploads a configuration")
	case len(doc) > maxLocalConfig:
		return fmt.Errorf("configuration is larger than %d bytes", maxLocalConfig)
	case !json.Valid(doc):
		return errors.New("configuration is not JSON")
	}
	size, id := int64(len(doc)), c.conn.Slot.Tunnel
	if size > c.configBytes {
		if v := c.server.localConfig.Take(id, size-c.configBytes); v != share.Granted {
			return fmt.Errorf("too many configurations are kept: %s bound reached", v)
		}
	} else {
		c.server.localConfig.Give(id, c.configBytes-size)
	}
	c.configBytes = size
	c.conn.SetLocalConfig(append(json.RawMessage(nil), doc...))
	return nil
}
