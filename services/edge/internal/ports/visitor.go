package ports

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const flowIDSize = 8

// visitor is one TCP connection of a visitor.
type visitor struct {
	*tcpPort
	tcp           *net.TCPConn
	remote, local netip.AddrPort
	flow          string // the id that both ends log
}

func newVisitor(t *tcpPort, c *net.TCPConn) *visitor {
	var id [flowIDSize]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return &visitor{tcpPort: t, tcp: c, remote: addrOf(c.RemoteAddr()), local: addrOf(c.LocalAddr()), flow: hex.EncodeToString(id[:])}
}

// serve carries the visitor's connection until it ends or ctx does.
func (v *visitor) serve(ctx context.Context) {
	v.metrics.connections.Inc()
	defer v.metrics.connections.Dec()
	began := time.Now()
	var end *tunnelEnd
	conn, failure := v.sender.Send(ctx, v.port.Tunnel, func(conn *registry.Conn) (f *dispatch.Failure) {
		end, f = v.connect(ctx, conn)
		return f
	})
	if failure != nil {
		reset(v.tcp)
		end := endingOf(failure)
		v.metrics.connEndings[end].Inc()
		v.report(ctx, end, failure, conn)
		return
	}
	defer conn.Release()
	v.metrics.wait.Observe(time.Since(began).Seconds())
	d := newDuplex(v, end, conn)
	res, err := d.run(ctx)
	v.metrics.connEndings[res].Inc()
	if v.deps.Logger.Enabled(ctx, slog.LevelDebug) {
		v.deps.Logger.LogAttrs(ctx, slog.LevelDebug, "port connection ended", append(v.attrs(conn),
			slog.String(logkey.Result, endingNames[res]), slog.Duration(logkey.Took, time.Since(began)),
			slog.Int64(logkey.BytesIn, d.in), slog.Int64(logkey.BytesOut, d.out), slog.Any(logkey.Err, err))...)
	}
}

func (v *visitor) attrs(conn *registry.Conn) []slog.Attr {
	out := []slog.Attr{
		slog.String(logkey.Port, v.port.Name()), slog.String(logkey.TunnelID, v.port.Tunnel.String()), slog.String(logkey.FlowID, v.flow),
	}
	if conn != nil {
		out = append(out, slog.Int(logkey.ConnIndex, int(conn.Slot.Index)))
	}
	return out
}

// report logs why a visitor was not served, at most one line per logInterval above debug.
func (v *visitor) report(ctx context.Context, end ending, f *dispatch.Failure, conn *registry.Conn) {
	level := slog.LevelDebug
	if v.warnings.Allow() {
		level = slog.LevelWarn
	}
	v.deps.Logger.LogAttrs(ctx, level, "port connection not served", append(v.attrs(conn),
		slog.String(logkey.Result, endingNames[end]), slog.String(logkey.Err, f.Detail))...)
}

// endingOf is how a connection ended that could not be carried.
func endingOf(f *dispatch.Failure) ending {
	switch f.Kind {
	case dispatch.NoConnection:
		return noConnector
	case dispatch.Busy:
		return limited
	case dispatch.Lost:
		return connectorLost
	default:
		return refused
	}
}
