package edge_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	wire "github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/edge"
)

const streams1 = "culvert_streams_1"

func TestWebSocket(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, socketConnector(t, socketOrigin(t)), streams1)
	for name, dial := range b.dialers() {
		t.Run(name, func(t *testing.T) {
			c, resp, err := dial(t, "/ws?x=1")
			if err != nil {
				t.Fatalf("dial: %v %+v", err, resp)
			}
			defer func() { _ = c.Close() }()
			if resp.Header.Get("X-Origin") != "1" || c.Subprotocol() != "chat" {
				t.Errorf("head %v, subprotocol %q", resp.Header, c.Subprotocol())
			}
			for _, n := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20, beyondWindow} {
				if n == beyondWindow && name != "http1" && name != "h2c" {
					continue // TLS makes no difference to the windows
				}
				want := pattern(n)
				sent := make(chan error, 1)
				go func() { sent <- c.WriteMessage(gorilla.BinaryMessage, want) }()
				kind, got, err := c.ReadMessage()
				if err != nil || kind != gorilla.BinaryMessage || !bytes.Equal(got, want) {
					t.Fatalf("echo of %d bytes: kind %d, %d bytes, %v", n, kind, len(got), err)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
			pong := make(chan string, 1)
			c.SetPongHandler(func(s string) error { pong <- s; return nil })
			_ = c.WriteMessage(gorilla.PingMessage, []byte("are you there"))
			_ = c.WriteMessage(gorilla.TextMessage, []byte("close"))
			_, _, err = c.ReadMessage()
			var closed *gorilla.CloseError
			if !errors.As(err, &closed) || closed.Code != 4321 || closed.Text != "bye" {
				t.Errorf("close: %v", err)
			}
			if got := <-pong; got != "are you there" {
				t.Errorf("pong %q", got)
			}
		})
	}
	testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
}

func TestWebSocketByAnotherLibrary(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, socketConnector(t, socketOrigin(t)), streams1)
	c, _, err := websocket.Dial(t.Context(), b.PublicURL()+"/ws",
		&websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(64 << 20)
	want := strings.Repeat("a compressible text ", 1<<18)
	go func() { _ = c.Write(t.Context(), websocket.MessageText, []byte(want)) }()
	if _, got, err := c.Read(t.Context()); err != nil || string(got) != want {
		t.Errorf("echo: %d bytes, %v", len(got), err)
	}
	if err := c.Close(websocket.StatusGoingAway, "leaving"); err != nil {
		t.Errorf("close: %v", err)
	}
	testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
}

// handshake requests a WebSocket on a new connection; extra follows the request at once.
func (b *bench) handshake(path, extra string) (*net.TCPConn, *bufio.Reader, *http.Response) {
	b.t.Helper()
	c := b.tcp()
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+extra); err != nil {
		b.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		b.t.Fatalf("response: %v", err)
	}
	return c, r, resp
}

// accept101 accepts the handshake of a WebSocket.
func accept101(req *stream.Request, st transport.Stream) {
	key := strings.Join(header(req, "Sec-Websocket-Key"), "")
	respond(st, "101", "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Accept", wire.AcceptKey(key))
}

// Bytes that the visitor sends right behind its handshake, before it is accepted, reach the connector unchanged.
func TestBytesBehindTheHandshake(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		if req.Type != stream.WebSocket || header(req, "Connection") != nil || header(req, "Upgrade") != nil ||
			fmt.Sprint(header(req, "Sec-Websocket-Key")) != "[dGhlIHNhbXBsZSBub25jZQ==]" || header(req, "Content-Length") != nil ||
			header(req, "Transfer-Encoding") != nil || req.Metadata[0].Val != "GET" {
			t.Errorf("request %+v", req)
		}
		accept101(req, st)
		_, _ = io.Copy(struct{ io.Writer }{st}, body)
		end(st)
	}, streams1)
	for _, extra := range []string{"", "x", "GET / HTTP/1.1\n\x00 \r\n", strings.Repeat("\x00y\n", 5000)} {
		c, r, resp := b.handshake("/", extra)
		if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Connection") != "Upgrade" ||
			resp.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("response %d %v", resp.StatusCode, resp.Header)
		}
		_, _ = io.WriteString(c, "more")
		_ = c.CloseWrite()
		got, err := io.ReadAll(r)
		if err != nil || string(got) != extra+"more" {
			t.Errorf("%d bytes of %d, %v", len(got), len(extra)+4, err)
		}
		_ = c.Close()
	}
}

func TestWebSocketHalfClose(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	released, done := make(chan struct{}), make(chan struct{})
	lateResponse := func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		accept101(req, st)
		first := make([]byte, 5)
		if _, err := io.ReadFull(body, first); err != nil {
			t.Errorf("first bytes: %v", err)
		}
		<-released
		_, _ = st.Write([]byte("late " + string(first)))
		_ = st.CloseWrite()
		n, err := body.Read(first)
		if n != 0 || err != io.EOF {
			t.Errorf("after the response: %d, %v; want the end", n, err)
		}
		st.CancelRead(0)
		done <- struct{}{}
	}
	for _, feature := range []string{streams1, "support_quic_eof"} {
		p := b.connect(0, 0, lateResponse, feature)
		c, r, _ := b.handshake("/", "hello")
		_ = c.CloseWrite()
		released <- struct{}{} // the connector got the bytes: the end is on its way, if it is sent
		if got, err := io.ReadAll(r); err != nil || string(got) != "late hello" {
			t.Errorf("%s: %q, %v", feature, got, err)
		}
		_ = c.Close()
		<-done
		testkit.Eventually(t, "nothing is in flight", func() bool { return b.inFlight() == 0 })
		p.close()
		testkit.Eventually(t, "the connector is gone", func() bool { return b.connections("active") == 0 })
	}
}

// A connector that has ended its direction and still reads gets the visitor's bytes.
func TestWebSocketHalfCloseOfTheConnector(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	rest := make(chan string, 1)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		accept101(req, st)
		_, _ = st.Write([]byte("all"))
		_ = st.CloseWrite()
		got, err := io.ReadAll(body)
		rest <- fmt.Sprint(string(got), err)
	}, streams1)
	c, r, _ := b.handshake("/", "")
	if got, err := io.ReadAll(r); err != nil || string(got) != "all" {
		t.Fatalf("%q, %v", got, err)
	}
	_, _ = io.WriteString(c, "and more")
	_ = c.Close()
	if got := <-rest; got != "and more<nil>" {
		t.Errorf("the connector got %q", got)
	}
}

func TestWebSocketBreaks(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	ended := make(chan error, 1)
	b.connect(0, 0, func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		accept101(req, st)
		first := make([]byte, 1)
		_, _ = io.ReadFull(body, first)
		switch {
		case strings.HasSuffix(req.Dest, "/reset"):
			st.CancelWrite(0)
			st.CancelRead(0)
		case strings.HasSuffix(req.Dest, "/lose"):
			p.work.Go(func() { _ = p.sess.CloseWithError(0, "") })
		default:
			_, err := io.Copy(io.Discard, body)
			<-st.Context().Done()
			ended <- err
		}
	}, streams1)
	c, _, _ := b.handshake("/leave", "x")
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := <-ended; !errors.Is(err, transport.ErrReset) {
		t.Errorf("the visitor's reset arrives as %v", err)
	}
	h2 := b.extended()["h2c"]
	for _, path := range []string{"/reset", "/lose"} {
		conn := &h2Conn{client: h2.client, url: h2.base}
		_, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		c, r, _ := b.handshake(path, "")
		_, _ = io.WriteString(conn, "x")
		_, werr := io.WriteString(c, "x") // an error here may report the reset, which Read does not report again then
		if got, err := io.ReadAll(r); err == nil && werr == nil {
			t.Errorf("%s: a clean end after %q", path, got)
		}
		if got, err := io.ReadAll(conn.resp.Body); err == nil {
			t.Errorf("%s over HTTP/2: a clean end after %q", path, got)
		}
		_ = conn.Close()
		_ = c.Close()
	}
}

func TestWebSocketRefused(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.MaxWebSockets = 1 })
	release := make(chan struct{})
	b.connect(0, 0, func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		if strings.HasSuffix(req.Dest, "/ws") {
			accept101(req, st)
			<-release
			end(st)
			return
		}
		origin(p, req, body, st)
	}, streams1)
	_, r, resp := b.handshake("/early", "")
	if resp.StatusCode != 413 || !resp.Close {
		t.Errorf("refused: %d, close %v", resp.StatusCode, resp.Close)
	}
	_, _ = io.Copy(io.Discard, r)
	_, _, resp = b.handshake("/request", "")
	if resp.StatusCode != 200 || !resp.Close {
		t.Errorf("after a response with 200: %d, close %v", resp.StatusCode, resp.Close)
	}
	c, _, resp := b.handshake("/ws", "")
	if resp.StatusCode != 101 {
		t.Fatalf("accepted: %d", resp.StatusCode)
	}
	h2 := b.extended()["h2c"]
	for path, want := range map[string]string{"/early": "413 ", "/request": "502 websocket_refused", "/ws": "503 websocket_limited"} {
		conn := &h2Conn{client: h2.client, url: h2.base}
		if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(conn.resp.StatusCode, " ", conn.resp.Header.Get("Culvert-Error")); got != want {
			t.Errorf("%s over HTTP/2: %s, want %s", path, got, want)
		}
		_ = conn.Close()
	}
	close(release)
	_ = c.Close()
	_, r, resp = b.handshake("/x", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	body, _ := io.ReadAll(resp.Body)
	if more, err := io.ReadAll(r); err != nil || len(more) != 0 || resp.StatusCode != 404 {
		t.Errorf("after a refused upgrade: %d %q, then %q, %v", resp.StatusCode, body, more, err)
	}
}

func TestWebSocketsAtShutdown(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Public.DrainTimeout = 200 * time.Millisecond })
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		accept101(req, st)
		_, _ = io.Copy(io.Discard, body)
	}, streams1)
	c, r, _ := b.handshake("/", "")
	b.stop()
	if got, err := io.ReadAll(r); err == nil {
		t.Errorf("a clean end after %q", got)
	}
	_ = c.Close()
}
