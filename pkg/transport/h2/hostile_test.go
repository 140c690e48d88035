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

// hostileEdge gives the raw connection of an edge that has sent its preface.
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
	s, err := h2.Dial(t.Context(), h2.DialConfig{Edge: ln.Addr().(*net.TCPAddr).AddrPort(), TLS: h2.ClientTLS(pool, false), Settings: settings})
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

// TestGarbage ends the session with an error, whatever comes first.
func TestGarbage(t *testing.T) {
	for name, garbage := range map[string][]byte{
		"http/1":           []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"zeros":            make([]byte, 64),
		"data of nobody":   {0, 0, 1, 0, 0, 0, 0, 0, 9, 'x'},
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

// TestRapidReset: streams that are reset as soon as they are opened are cleared away, and those that nobody has cleared
// away yet are bounded.
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
	// A stream after the flood is served once what came before was looked at.
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: controlBlock(), EndHeaders: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for {
			st, err := s.AcceptStream(ctx)
			if err != nil {
				return
			}
			st.CancelRead(0) // it was quicker than the reset
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

// TestPingFlood: a peer that asks and never reads the answers loses its session.
func TestPingFlood(t *testing.T) {
	s, fr, _ := hostileEdge(t, nil)
	for s.Context().Err() == nil {
		if err := fr.WritePing(false, [8]byte{}); err != nil {
			break
		}
	}
	<-s.Context().Done()
}

// TestHeaderBomb: heads that grow when they are unpacked are refused.
func TestHeaderBomb(t *testing.T) {
	s, fr, conn := hostileEdge(t, nil)
	answers := http2.NewFramer(nil, conn)
	before := heap()
	// One entry of the table, referred to by one byte each.
	bomb := append(block("x-bomb", string(bytes.Repeat([]byte("a"), 4000))), bytes.Repeat([]byte{0x80 | 62}, 15000)...)
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: append(getBlock(), bomb...), EndHeaders: true})
	for {
		f, err := answers.ReadFrame()
		if err != nil {
			break // ended as a whole: fine, too
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
