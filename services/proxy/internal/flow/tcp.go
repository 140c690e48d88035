package flow

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

// limitedError is a private-network stream above the limit.
type limitedError struct{ err error }

func (e *limitedError) Error() string {
	return "failed to start tcp flow due to rate limiting: " + e.err.Error()
}
func (e *limitedError) Unwrap() error { return e.err }

// privateError is a destination of a private network that cannot be reached. The edge knows the address: it named it.
type privateError struct {
	dst netip.AddrPort
	err error
}

func (e *privateError) Error() string {
	return fmt.Sprintf("unable to dial tcp to origin %s: %v", e.dst, e.err)
}
func (e *privateError) Unwrap() error { return e.err }

// serveTCP connects the stream to an address of a private network (docs/spec/ingress.md 9.1).
func (x *flowState) serveTCP(ctx context.Context, rest []byte) error {
	slot, err := x.h.streams.flows.Acquire(x.meta.Tunnel, limit.TCP)
	if err != nil {
		return &limitedError{err}
	}
	defer slot.Release()
	if x.log.Enabled(ctx, slog.LevelDebug) {
		x.logStart(ctx)
	}
	dst, err := netip.ParseAddrPort(x.req.Dest)
	if err != nil {
		return badRequest(err.Error())
	}
	conn, err := x.dialPrivate(ctx, dst, x.h.table.For(x.meta.Tunnel).Set.WarpRouting)
	if err != nil {
		return &privateError{dst, err}
	}
	end := x.originEnd(conn)
	x.resp.Error, x.resp.Metadata = "", x.resp.Metadata[:0]
	if err := x.sendHead(); err != nil {
		end.Abort()
		return err
	}
	x.pump(ctx, streamTCP, x.edge(rest), end)
	return nil
}

func (x *flowState) dialPrivate(ctx context.Context, dst netip.AddrPort, set ingress.WarpRouting) (net.Conn, error) {
	began := time.Now()
	conn, err := x.h.streams.dialer.DialTCP(ctx, x.meta.Tunnel, dst)
	if err == nil {
		if err = origin.Announce(conn, set.ProxyProtocol, x.client(nil)); err != nil {
			_ = conn.Close() // the error says enough
		}
	}
	x.h.streams.metrics.connected(began, err)
	return conn, err
}
