package connector

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

const (
	// streamTime bounds the time that a stream of a connector is served; it holds one call.
	streamTime = 5 * time.Second
	// maxStreams bounds the streams of one connector that are served at once; more are refused.
	maxStreams = 16
)

// Datagrams is the part of the edge that uses the datagrams of connections.
type Datagrams interface {
	// Serve is called for each registered connection, and returns when ctx or the connection ends.
	Serve(ctx context.Context, conn *registry.Conn)
	// Ended is told that the connector ended a UDP session of datagram v2.
	Ended(conn *registry.Conn, id datagram.ID, text string)
}

// moreStreams takes the streams of the connector that are not the control stream: those that tell of the end of a UDP
// session (docs/spec/wire.md 5.1). Everything else is refused.
func (r *registration) moreStreams(ctx context.Context) {
	var serving sync.WaitGroup
	defer serving.Wait()
	places := make(chan struct{}, maxStreams)
	for {
		st, err := r.sess.AcceptStream(ctx)
		if err != nil {
			return
		}
		select {
		case places <- struct{}{}:
			serving.Go(func() {
				defer func() { <-places }()
				r.serveStream(ctx, st)
			})
		default:
			r.refuseStream(st)
		}
	}
}

func (r *registration) refuseStream(st transport.Stream) {
	r.server.metrics.refusedStreams.Inc()
	st.CancelRead(transport.NoError)
	st.CancelWrite(transport.NoError)
}

func (r *registration) serveStream(ctx context.Context, st transport.Stream) {
	conn := r.registered()
	if conn == nil || st.SetReadDeadline(time.Now().Add(streamTime)) != nil {
		r.refuseStream(st)
		return
	}
	head := make([]byte, stream.SignatureSize)
	if _, err := io.ReadFull(st, head); err != nil {
		r.refuseStream(st)
		return
	}
	if kind, err := stream.Detect(head); err != nil || kind != stream.KindRPC {
		r.refuseStream(st)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, streamTime)
	defer cancel()
	err := rpc.ServeSessionEnds(ctx, rpc.StreamConn(st), func(_ context.Context, id [16]byte, message string) error {
		r.server.deps.Datagrams.Ended(conn, id, printable(message))
		return nil
	})
	if err != nil && ctx.Err() == nil {
		r.log.DebugContext(ctx, "session stream ended", slog.Any(logkey.Err, err))
	}
}
