package h2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/transport/h2"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// hostileEdge gives the raw connection of an edge that has sent its preface, and the connector's session.
func hostileEdge(t *testing.T, change func(s *h2.Settings)) (*h2.Session, *http2.Framer, net.Conn) {
	t.Helper()
	cert, pool := certificate(t, h2.ServerName)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan *tls.Conn, 1)
	go func() {
		if c, err := ln.Accept(); err == nil {
			conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			_ = conn.Handshake() // a failure shows at the other end
			accepted <- conn
		}
	}()
	settings := h2.ConnectorSettings()
	if change != nil {
		change(&settings)
	}
	s, err := h2.Dial(
		t.Context(),
		h2.DialConfig{Edge: ln.Addr().(*net.TCPAddr).AddrPort(), TLS: h2.ClientTLS(pool, false), Settings: settings},
	)
	if err != nil {
		t.Fatal(err)
	}
	conn := <-accepted
	t.Cleanup(func() {
		_ = s.CloseWithError(0, "")
		_ = conn.Close()
	})
	_, _ = conn.Write([]byte(http2.ClientPreface))
	fr := http2.NewFramer(conn, conn)
	_ = fr.WriteSettings()
	return s, fr, conn
}

func getBlock() []byte {
	return block(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")
}

// TestGarbage: bytes that are not HTTP/2 end the session with an error.
func TestGarbage(t *testing.T) {
	for name, garbage := range map[string][]byte{
		"http/1":           []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"zeros":            make([]byte, 64),
		"unknown stream":   {0, 0, 1, 0, 0, 0, 0, 0, 9, 'x'},
		"a huge frame":     {0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1},
		"a window of zero": {0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"continuation":     {0, 0, 0, 9, 0, 0, 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, conn := hostileEdge(t, nil)
			_, _ = conn.Write(garbage)
			_, _ = conn.Write(make([]byte, 64))
			<-s.Context().Done()
			if r := tunnel.ReasonOf(context.Cause(s.Context())); r != tunnel.ReasonInternal {
				t.Errorf("cause = %v", context.Cause(s.Context()))
			}
		})
	}
}

// TestRapidReset: streams that the edge opens and resets at once are removed, and the number of those that were not handled
// yet is bounded.
func TestRapidReset(t *testing.T) {
	const limit = 64
	s, fr, conn := hostileEdge(t, func(s *h2.Settings) { s.MaxStreams = limit })
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	before := heap()
	id := uint32(1)
	for range 20000 {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: getBlock(), EndHeaders: true})
		if err := fr.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		id += 2
	}
	// A stream after the flood is served when the frames before it were handled.
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: controlBlock(), EndHeaders: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for {
			st, err := s.AcceptStream(ctx)
			if err != nil {
				return
			}
			st.CancelRead(0) // the reset has not arrived yet
			st.CancelWrite(0)
		}
	}()
	for {
		id += 2
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: controlBlock(), EndHeaders: true})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := s.OpenStream(ctx)
		cancel()
		if err == nil {
			break
		}
		if s.Context().Err() != nil {
			t.Fatalf("the session ended: %v", context.Cause(s.Context()))
		}
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("heap grew by %d bytes", grown)
	}
}

// TestPingFlood: a peer that sends PINGs and never reads the acknowledgements loses its session.
func TestPingFlood(t *testing.T) {
	s, fr, _ := hostileEdge(t, nil)
	for s.Context().Err() == nil {
		if err := fr.WritePing(false, [8]byte{}); err != nil {
			break
		}
	}
	<-s.Context().Done()
}

// TestHeaderBomb: headers that grow by decompression are refused.
func TestHeaderBomb(t *testing.T) {
	s, fr, conn := hostileEdge(t, nil)
	responses := http2.NewFramer(nil, conn)
	before := heap()
	// One entry of the table, referred to by one byte each.
	bomb := append(block("x-bomb", string(bytes.Repeat([]byte("a"), 4000))), bytes.Repeat([]byte{0x80 | 62}, 15000)...)
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: append(getBlock(), bomb...), EndHeaders: true})
	for {
		f, err := responses.ReadFrame()
		if err != nil {
			break // the whole connection has ended
		}
		if _, refused := f.(*http2.RSTStreamFrame); refused {
			break
		}
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("heap grew by %d bytes", grown)
	}
	_ = s
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
