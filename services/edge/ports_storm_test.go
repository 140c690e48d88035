package edge_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// TestPortStorm: visitors and connectors that end their connections in every way and at any time leak nothing. TestMain finds
// goroutines that are left.
func TestPortStorm(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Ports.FinHold, c.Ports.ConnectTimeout = 10*time.Millisecond, 5*time.Second })
	unkind := func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		switch rand.IntN(6) {
		case 0:
			st.CancelWrite(0)
		case 1:
			accept(st)
			st.CancelRead(0)
			_, _ = st.Write(pattern(rand.IntN(100_000)))
			_ = st.CloseWrite()
		case 2:
			accept(st)
			_, _ = st.Write(pattern(rand.IntN(1000)))
			st.CancelWrite(0)
			st.CancelRead(0)
		case 3:
			_, _ = st.Write(pattern(rand.IntN(100)))
			end(st)
		default:
			if req.Type == stream.WebSocket {
				echoWS(func(*wsServer) {})(p, req, body, st)
				return
			}
			echoTCP(p, req, body, st)
		}
	}
	b.connect(0, 0, unkind, featureStreams)
	b.connect(1, 1, unkind)
	var addrs []string
	for _, to := range []adminclient.PortTarget{target, ruleTarget} {
		_, addr := b.port(to)
		addrs = append(addrs, addr)
	}
	var visitors sync.WaitGroup
	for i := range 16 {
		visitors.Go(func() {
			for range 25 {
				storm(addrs[i%2])
			}
		})
	}
	visitors.Wait()
	testkit.Eventually(t, "nothing is in flight", func() bool {
		list, err := b.admin.ListConnections(t.Context())
		if err != nil || len(list) != 2 {
			t.Fatalf("connections: %v, %v", list, err)
		}
		return list[0].InFlight == 0 && list[1].InFlight == 0
	})
}

// storm is one visitor, which ends its connection in one of several ways.
func storm(addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return // reset before the dial had ended
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(testkit.Patience))
	tcp := c.(*net.TCPConn)
	if rand.IntN(3) > 0 {
		_, _ = c.Write(pattern(rand.IntN(50_000)))
	}
	switch rand.IntN(4) {
	case 0:
		_ = tcp.SetLinger(0)
	case 1:
		// This visitor has sent nothing, so no echo comes; it closes after a while.
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = io.CopyN(io.Discard, c, int64(rand.IntN(1000)))
	default:
		_ = tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}
}
