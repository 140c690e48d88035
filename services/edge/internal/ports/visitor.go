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
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	// maxTries bounds how many connections are tried for one visitor.
	maxTries = 3
	// maxInFlight bounds the streams on one connection of a connector.
	maxInFlight = 16384
	flowIDSize  = 8
)

// visitor is one TCP connection of the public.
type visitor struct {
	*tcpPort
	tcp           *net.TCPConn
	remote, local netip.AddrPort
	flow          string // the id that both ends log
}

func newVisitor(t *tcpPort, c *net.TCPConn) *visitor {
	var id [flowIDSize]byte
	_, _ = rand.Read(id[:]) // crypto/rand ends the process rather than fail
	return &visitor{tcpPort: t, tcp: c, remote: addrOf(c.RemoteAddr()), local: addrOf(c.LocalAddr()), flow: hex.EncodeToString(id[:])}
}

// serve carries the visitor until it ends or ctx does.
func (v *visitor) serve(ctx context.Context) {
	v.metrics.connections.Inc()
	defer v.metrics.connections.Dec()
	began := time.Now()
	up, conn, fault := v.open(ctx)
	if fault != nil {
		reset(v.tcp)
		v.metrics.results[fault.result].Inc()
		v.report(ctx, fault, conn)
		return
	}
	defer conn.Release()
	v.metrics.wait.Observe(time.Since(began).Seconds())
	d := newDuplex(v, up, conn)
	res, err := d.run(ctx)
	v.metrics.results[res].Inc()
	if v.deps.Logger.Enabled(ctx, slog.LevelDebug) {
		v.deps.Logger.LogAttrs(ctx, slog.LevelDebug, "port connection ended", append(v.attrs(conn),
			slog.String(logkey.Result, resultNames[res]), slog.Duration(logkey.Took, time.Since(began)),
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

// report logs why a visitor was not served, one line per second at most above debug.
func (v *visitor) report(ctx context.Context, f *fault, conn *registry.Conn) {
	level := slog.LevelDebug
	if v.failures.allow(time.Now()) {
		level = slog.LevelWarn
	}
	v.deps.Logger.LogAttrs(ctx, level, "port connection not served", append(v.attrs(conn),
		slog.String(logkey.Result, resultNames[f.result]), slog.String(logkey.Err, f.detail))...)
}

// fault says why a visitor is not served.
type fault struct {
	result result
	detail string
	// again says that another connection may do better. Nothing of the visitor's was sent, so trying does no harm.
	again bool
}

// open finds a connection that takes the visitor. On success the caller releases the connection.
func (v *visitor) open(ctx context.Context) (*leg, *registry.Conn, *fault) {
	last := &fault{result: resultNoConnector, detail: "the tunnel has no connection"}
	var not *registry.Conn
	for try := range maxTries {
		conn, ok := v.deps.Conns.Pick(v.port.Tunnel, not)
		if !ok {
			break
		}
		if conn.InFlight() > maxInFlight {
			conn.Release()
			return nil, conn, &fault{result: resultLimited, detail: "the connection carries too many streams"}
		}
		if try > 0 {
			v.metrics.retries.Inc()
		}
		st, f := v.ask(ctx, conn)
		if f == nil {
			return st, conn, nil
		}
		conn.Release()
		last, not = f, conn
		if !f.again || ctx.Err() != nil {
			break
		}
	}
	return nil, not, last
}
