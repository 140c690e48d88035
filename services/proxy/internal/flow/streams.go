package flow

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/duplex"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
)

// byteStreams is what a Handler needs for streams.
type byteStreams struct {
	set     Streams
	copier  duplex.Copier
	dialer  Dialer
	flows   *limit.Flows
	metrics *streamMetrics
}

// edge is the edge's end of the stream, behind the head.
func (x *flowState) edge(rest []byte) *duplex.Head { return &duplex.Head{End: x.s, First: rest} }

// sendHead sends the ConnectResponse at once: what follows may take its time.
func (x *flowState) sendHead() error {
	if err := x.bufferHead(); err != nil {
		return err
	}
	if _, err := x.s.Write(nil); err != nil {
		return &leftError{err}
	}
	return nil
}

// originEnd is the origin's end of a stream.
func (x *flowState) originEnd(c net.Conn) *duplex.Conn {
	return &duplex.Conn{NetConn: c, WriteTimeout: x.h.streams.set.WriteTimeout, Moved: x.clock.toucher()}
}

// pump runs an accepted stream to its end, which is never a failure of the request: it is counted, and logged at
// debug level.
func (x *flowState) pump(ctx context.Context, kind streamKind, edge duplex.End, conn *duplex.Conn) {
	m := x.h.streams.metrics
	m.begin(kind)
	x.clock.begunStream()
	res := x.h.streams.copier.Run(ctx, edge, conn)
	conn.Close()
	if res.Cause == duplex.Cancelled && isRuleTime(res.Err) {
		res.Cause = duplex.RuleTime
	}
	m.end(kind, res.Cause)
	if !x.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := append(x.attrs(),
		slog.String(logkey.Kind, kind.String()), slog.Any(logkey.Dest, conn.NetConn.RemoteAddr()),
		slog.String(logkey.Reason, res.Cause.String()), slog.String(logkey.Side, res.First.String()),
		slog.Int64(logkey.BytesToOrigin, res.ToOrigin), slog.Int64(logkey.BytesToEdge, res.ToEdge),
		slog.Duration(logkey.Took, time.Since(x.began)))
	if c := x.metadata(stream.KeyClient); c != "" {
		attrs = append(attrs, slog.String(logkey.Client, c))
	}
	if id := x.metadata(keyFlowID); id != "" {
		attrs = append(attrs, slog.String(logkey.FlowID, id))
	}
	if res.Err != nil {
		attrs = append(attrs, slog.Any(logkey.Err, res.Err))
	}
	x.log.LogAttrs(ctx, slog.LevelDebug, "stream ended", attrs...)
}

// keyFlowID is the metadata key of a flow's name in the edge's logs.
const keyFlowID = "FlowID"

// metadata gives the value of a key that is no header.
func (x *flowState) metadata(key string) string {
	for i := range x.req.Metadata {
		if p := &x.req.Metadata[i]; p.Key == key {
			return p.Val
		}
	}
	return ""
}

// client is the visitor's address as the edge says it: with the port where it says so, else the address alone. It may be
// unknown.
func (x *flowState) client(p *parsed) netip.AddrPort {
	if a, err := netip.ParseAddrPort(x.metadata(stream.KeyClient)); err == nil {
		return a
	}
	if p != nil {
		if a, err := netip.ParseAddr(p.header.Get("Cf-Connecting-Ip")); err == nil {
			return netip.AddrPortFrom(a, 0)
		}
	}
	return netip.AddrPort{}
}
