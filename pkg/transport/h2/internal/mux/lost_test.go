package mux

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestLostIsAskedAboutLossesOnly: what Lost finds is the reason of a loss; an end that was announced is none.
func TestLostIsAskedAboutLossesOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  func(own, peer *Conn, wire net.Conn)
		asks int32
		want tunnel.Reason
	}{
		"the connection is cut": {func(_, _ *Conn, wire net.Conn) { _ = wire.Close() }, 1, tunnel.ReasonIdle},
		"this end closes":       {func(own, _ *Conn, _ net.Conn) { own.Close(http2.ErrCodeNo, "") }, 0, tunnel.ReasonNone},
		"the peer closes":       {func(_, peer *Conn, _ net.Conn) { peer.Close(http2.ErrCodeNo, "") }, 0, tunnel.ReasonPeerClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				var asked atomic.Int32
				conf := testConfig(Server, func(*Stream) {})
				conf.Lost = func(*tunnel.ConnError) *tunnel.ConnError {
					asked.Add(1)
					return &tunnel.ConnError{Reason: tunnel.ReasonIdle, Err: errIdle}
				}
				own, peer := New(t.Context(), a, conf), New(t.Context(), b, testConfig(Client, nil))
				synctest.Wait()
				c.end(own, peer, b)
				<-own.Context().Done()
				own.Close(http2.ErrCodeNo, "")
				peer.Close(http2.ErrCodeNo, "")
				if got := tunnel.ReasonOf(context.Cause(own.Context())); got != c.want || asked.Load() != c.asks {
					t.Errorf("reason %q after %d calls, want %q after %d", got, asked.Load(), c.want, c.asks)
				}
			})
		})
	}
}
