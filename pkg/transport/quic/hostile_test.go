package quic_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"

	quicgo "github.com/quic-go/quic-go"

	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// roomy are the limits of a hostile peer: so large that they never apply.
func roomy() *quicgo.Config {
	return &quicgo.Config{EnableDatagrams: true, MaxIncomingStreams: 1 << 40, MaxIncomingUniStreams: 1 << 40}
}

// hostileConnector gives a raw connection to an edge's listener, and the edge's session.
func hostileConnector(t *testing.T) (*quicgo.Conn, *quic.Session) {
	t.Helper()
	l, pool := listen(t, "127.0.0.1:0", quic.ServerName)
	conn, err := quicgo.DialAddr(t.Context(), l.Addr().String(), quic.ClientTLS(pool, false), roomy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	s, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn, s
}

// hostileEdge gives a raw connection of an edge, and the connector's session.
func hostileEdge(t *testing.T, settings quic.Settings) (*quicgo.Conn, *quic.Session) {
	t.Helper()
	cert, pool := certificate(t, quic.ServerName)
	conf := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{quic.ALPN}}
	l, err := quicgo.ListenAddr("127.0.0.1:0", conf, roomy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	addr := l.Addr().(*net.UDPAddr).AddrPort()
	s, err := quic.Dial(t.Context(), quic.DialConfig{
		Edge: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), TLS: quic.ClientTLS(pool, false), Settings: settings,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.CloseWithError(0, "") })
	conn, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	return conn, s
}

// streamsOf opens streams until the peer allows no more, at most max.
func streamsOf(t *testing.T, conn *quicgo.Conn, most int) (open []*quicgo.Stream) {
	t.Helper()
	for len(open) < most {
		st, err := conn.OpenStream()
		var limit *quicgo.StreamLimitReachedError
		if errors.As(err, &limit) {
			return open
		}
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, st)
	}
	return open
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // buffers of a sync.Pool survive one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestNoUnidirectionalStreams: the wire has none, so neither end lets its peer open one.
func TestNoUnidirectionalStreams(t *testing.T) {
	connector, _ := hostileConnector(t)
	edge, _ := hostileEdge(t, quic.ConnectorSettings())
	for name, conn := range map[string]*quicgo.Conn{"towards the edge": connector, "towards the connector": edge} {
		var limit *quicgo.StreamLimitReachedError
		if _, err := conn.OpenUniStream(); !errors.As(err, &limit) {
			t.Errorf("%s: %v, want the limit of streams", name, err)
		}
	}
}

// TestUnregisteredConnector: a connector that fills all streams that it may open makes the edge hold a few MiB.
func TestUnregisteredConnector(t *testing.T) {
	before := heap()
	conn, edge := hostileConnector(t)
	open := streamsOf(t, conn, 1000)
	if len(open) > 16 {
		t.Fatalf("%d streams, want at most 16", len(open))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan int, len(open))
	for _, st := range open {
		go func() { // until the stream's window is used up
			n := 0
			for ctx.Err() == nil {
				m, err := st.Write(make([]byte, 16<<10))
				if n += m; err != nil {
					break
				}
			}
			sent <- n
		}()
	}
	// The edge has read nothing, so what it has received is in memory.
	for edge.Received() < 16*150 { // packets: about 16 streams of 256 KiB in packets of up to 1452 bytes
		if edge.Context().Err() != nil {
			t.Fatal(context.Cause(edge.Context()))
		}
		runtime.Gosched()
	}
	if grown := heap() - before; grown > 24<<20 { // both ends, and what waits to be sent
		t.Errorf("heap grew by %d bytes", grown)
	}
	cancel()
	_ = conn.CloseWithError(0, "")
	total := 0
	for range open {
		total += <-sent
	}
	if total > 16*(300<<10) {
		t.Errorf("%d bytes were sent on streams that nothing reads", total)
	}
}

// TestStreamsOfAnEdge: one packet of an edge can open all streams that it may have, so their number is bounded.
func TestStreamsOfAnEdge(t *testing.T) {
	settings := quic.ConnectorSettings()
	if settings.MaxStreams > 1<<15 {
		t.Errorf("%d streams by default", settings.MaxStreams)
	}
	settings.MaxStreams = 2000
	conn, s := hostileEdge(t, settings)
	open := streamsOf(t, conn, 10000)
	if len(open) != int(settings.MaxStreams) {
		t.Fatalf("%d streams, want %d", len(open), settings.MaxStreams)
	}
	before := heap()
	if _, err := open[len(open)-1].Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AcceptStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	if grown := (heap() - before) / settings.MaxStreams; grown > 4<<10 {
		t.Errorf("heap grew by %d bytes a stream", grown)
	}
}

// TestProbation: an edge that sends much before the registration loses the session; after it, nothing happens.
func TestProbation(t *testing.T) {
	settings := quic.ConnectorSettings()
	settings.ProbationBytes = 100_000
	for name, admit := range map[string]bool{"before the registration": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			conn, s := hostileEdge(t, settings)
			if admit {
				s.Admit()
				s.Admit()
			}
			st, err := conn.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Write(make([]byte, 400_000)); err != nil && admit {
				t.Fatal(err)
			}
			if admit {
				near, err := s.AcceptStream(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				buf, n := make([]byte, 64<<10), 0
				for n < 400_000 {
					m, err := near.Read(buf)
					if n += m; err != nil {
						t.Fatalf("after %d bytes: %v", n, err)
					}
				}
				return
			}
			<-s.Context().Done()
			if err := context.Cause(s.Context()); tunnel.ReasonOf(err) != tunnel.ReasonInternal {
				t.Errorf("cause: %v", err)
			}
		})
	}
}
