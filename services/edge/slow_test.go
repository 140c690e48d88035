package edge_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge"
)

// Connections of visitors that send nothing, or an incomplete request, are closed after the timeout.
func TestSlowVisitors(t *testing.T) {
	b := start(t, func(c *edge.Config) {
		const short = 300 * time.Millisecond
		c.Public.ReadHeaderTimeout, c.Public.IdleTimeout, c.Public.BodyIdleTimeout = short, short, short
	})
	b.connect(0, 0, origin)
	before := b.goroutines()
	var all []net.Conn
	for range 50 {
		for _, text := range []string{
			"", "G", "GET / HTTP/1.1\r\nHost: a\r\nX-", "POST /sink HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
			"GET /bytes?n=3 HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n",
		} {
			c := b.tcp()
			_, _ = io.WriteString(c, text)
			all = append(all, c)
		}
		c, err := net.Dial("tcp", strings.TrimPrefix(b.PublicTLSURL(), "https://")) // no handshake
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(testkit.Patience))
		all = append(all, c)
	}
	for i, c := range all {
		if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, net.ErrClosed) {
			t.Errorf("connection %d: %v", i, err)
		}
		_ = c.Close()
	}
	testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
	testkit.Eventually(t, "the goroutines are gone", func() bool { return b.goroutines() <= before+5 })
}

// A stream over HTTP/2 that a visitor does not read is reset after a while, although its connection stays in use.
func TestStalledStream(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.BodyIdleTimeout = 300 * time.Millisecond })
	b.connect(0, 0, func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		if req.Type == stream.WebSocket {
			accept101(req, st)
			_, _ = st.Write(pattern(4 << 20))
			<-st.Context().Done()
			return
		}
		origin(p, req, body, st)
	}, streams1)
	for _, method := range []string{"GET", "CONNECT"} {
		f := b.framer()
		kv := []string{":method", method, ":path", "/bytes?n=4194304", ":scheme", "http", ":authority", "a"}
		if method == "CONNECT" {
			kv = append(kv, ":protocol", "websocket")
		}
		f.request(1, http2.HeadersFrameParam{EndStream: method == "GET"}, kv...)
		var got int
		for ended := false; !ended; {
			fr, err := f.ReadFrame()
			if err != nil {
				t.Fatalf("%s after %d bytes: %v", method, got, err)
			}
			switch fr := fr.(type) {
			case *http2.DataFrame:
				got += len(fr.Data()) // and no window is given
			case *http2.RSTStreamFrame:
				ended = true
			}
		}
		if got == 0 || got > 1<<20 {
			t.Errorf("%s: %d bytes before the reset", method, got)
		}
		testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
	}
}

// Many visitors that read nothing fill the window of a connection. Some of their responses are aborted and do not look complete; all
// other visitors are served.
func TestStalledVisitorsGiveWay(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	const size, visitors, streams = 8 << 20, 2, 200 // each stream holds a visitor's window and one of a connector
	large := pattern(size)
	b.connect(0, 0, func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		if !strings.HasSuffix(req.Dest, "/large") {
			origin(p, req, body, st)
			return
		}
		respond(st, "200", "Content-Length", strconv.Itoa(size))
		_, _ = st.Write(large)
	}, streams1)
	var cut, whole atomic.Int64
	var reading sync.WaitGroup
	defer reading.Wait()
	for range visitors {
		f := b.framer()
		defer f.conn.Close()
		for i := range streams {
			f.request(uint32(2*i+1), http2.HeadersFrameParam{EndStream: true}, ":method", "GET", ":path", "/large", ":scheme", "http", ":authority",
				"a")
		}
		reading.Go(func() {
			for {
				fr, err := f.ReadFrame()
				if err != nil {
					return
				}
				switch fr := fr.(type) {
				case *http2.DataFrame: // and no window is given
					if fr.StreamEnded() {
						whole.Add(1)
					}
				case *http2.RSTStreamFrame:
					cut.Add(1)
				}
			}
		})
	}
	testkit.Eventually(t, "some are aborted", func() bool { return cut.Load() > 0 })
	if resp, got := b.get("/bytes?n=2"); resp.StatusCode != http.StatusOK || len(got) != 2 {
		t.Errorf("a visitor that reads got %s, %d bytes", resp.Status, len(got))
	}
	if n := cut.Load(); n == visitors*streams {
		t.Errorf("all %d are aborted", n)
	}
	if n := whole.Load(); n > 0 {
		t.Errorf("%d responses look complete", n)
	}
}

// The timeouts for requests do not end an idle WebSocket; one that is stuck, or silent after one direction has ended, is ended.
func TestIdleAndStuckWebSockets(t *testing.T) {
	t.Parallel()
	const short = 200 * time.Millisecond
	b := start(t, func(c *edge.Config) {
		p := &c.Public
		p.ReadHeaderTimeout, p.IdleTimeout, p.BodyIdleTimeout, p.ResponseHeaderTimeout, p.HalfCloseTimeout = short, short, short, short, short
	})
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		accept101(req, st)
		switch {
		case strings.HasSuffix(req.Dest, "/flood"):
			for {
				if _, err := st.Write(pattern(1 << 20)); err != nil {
					return
				}
			}
		case strings.HasSuffix(req.Dest, "/silent"):
			_, _ = io.Copy(io.Discard, body)
			<-st.Context().Done()
		default:
			_, _ = io.Copy(struct{ io.Writer }{st}, body)
			end(st)
		}
	}, streams1)
	// The handshake itself is a request, whose response may come too late on a busy machine.
	open := func(path, extra string) (*net.TCPConn, *bufio.Reader) {
		for {
			c, r, resp := b.handshake(path, extra)
			if resp.StatusCode == http.StatusSwitchingProtocols {
				return c, r
			}
			if resp.StatusCode != http.StatusGatewayTimeout || t.Context().Err() != nil {
				t.Fatalf("handshake: %s", resp.Status)
			}
			_ = c.Close()
		}
	}
	c, r := open("/", "")
	pause := time.NewTimer(5 * short)
	<-pause.C
	_, _ = io.WriteString(c, "still here")
	got := make([]byte, 10)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "still here" {
		t.Errorf("after a pause: %q, %v", got, err)
	}
	_ = c.Close()
	testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
	stuck, _ := open("/flood", "") // never read from
	half, _ := open("/silent", "x")
	_ = half.CloseWrite()
	testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
	_ = stuck.Close()
	_ = half.Close()
}
