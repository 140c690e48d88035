package edge_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// socketOrigin is a WebSocket origin: it echoes, and closes with 4321 on request.
func socketOrigin(t *testing.T) string {
	t.Helper()
	up := gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, Subprotocols: []string{"chat"}, EnableCompression: true}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, http.Header{"X-Origin": {"1"}})
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		for {
			kind, b, err := c.ReadMessage()
			if err != nil {
				return
			}
			if string(b) == "close" {
				_ = c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(4321, "bye"))
				return
			}
			if err := c.WriteMessage(kind, b); err != nil {
				return
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// socketConnector carries WebSocket requests to an origin, as a connector does: it sends the handshake over HTTP/1.1 and copies bytes.
func socketConnector(t *testing.T, addr string) script {
	t.Helper()
	return func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		if req.Type != stream.WebSocket {
			origin(p, req, body, st)
			return
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Errorf("dial the origin: %v", err)
			return
		}
		defer func() { _ = c.Close() }()
		u, _ := url.Parse(req.Dest)
		var head bytes.Buffer
		fmt.Fprintf(&head, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", u.RequestURI(), u.Host)
		for _, m := range req.Metadata {
			if name, ok := strings.CutPrefix(m.Key, stream.HeaderPrefix); ok {
				fmt.Fprintf(&head, "%s: %s\r\n", name, m.Val)
			}
		}
		head.WriteString("\r\n")
		_, _ = c.Write(head.Bytes())
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Errorf("response of the origin: %v", err)
			return
		}
		var fields []string
		for name, values := range resp.Header {
			for _, v := range values {
				fields = append(fields, name, v)
			}
		}
		respond(st, fmt.Sprint(resp.StatusCode), fields...)
		if resp.StatusCode != http.StatusSwitchingProtocols {
			_, _ = io.Copy(struct{ io.Writer }{st}, resp.Body)
			end(st)
			return
		}
		var work sync.WaitGroup
		work.Go(func() {
			if _, err := io.Copy(c, body); err == nil {
				_ = c.(*net.TCPConn).CloseWrite()
			} else {
				_ = c.Close()
			}
		})
		if _, err := io.Copy(struct{ io.Writer }{st}, br); err == nil {
			_ = st.CloseWrite()
		} else {
			st.CancelWrite(0)
		}
		work.Wait()
		st.CancelRead(0)
	}
}

// h2Conn makes an extended CONNECT look like a connection on which a handshake over HTTP/1.1 takes place, so that any
// client can be used over it.
type h2Conn struct {
	net.Conn // addresses and deadlines: none is used
	client   *http.Client
	url      string
	up       *io.PipeWriter
	body     *io.PipeReader
	in       io.Reader
	resp     *http.Response
	began    bool
}

func (c *h2Conn) Write(p []byte) (int, error) {
	if c.began {
		return c.up.Write(p)
	}
	c.began = true
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(p)))
	if err != nil {
		return 0, err
	}
	sum := sha1.Sum([]byte(req.Header.Get("Sec-Websocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Key"} {
		req.Header.Del(name)
	}
	c.body, c.up = io.Pipe()
	out, _ := http.NewRequest(http.MethodConnect, c.url+req.URL.RequestURI(), c.body)
	out.Host, out.Header = req.Host, req.Header
	out.Header[":protocol"] = []string{"websocket"}
	if c.resp, err = c.client.Do(out); err != nil {
		return 0, err
	}
	var head bytes.Buffer
	if c.resp.StatusCode == http.StatusOK {
		head.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Accept: " +
			base64.StdEncoding.EncodeToString(sum[:]) + "\r\n")
	} else {
		fmt.Fprintf(&head, "HTTP/1.1 %s\r\n", c.resp.Status)
	}
	_ = c.resp.Header.Write(&head)
	head.WriteString("\r\n")
	c.in = io.MultiReader(&head, c.resp.Body)
	return len(p), nil
}

func (c *h2Conn) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *h2Conn) Close() error {
	if c.up != nil {
		_ = c.up.Close()
	}
	if c.resp != nil {
		return c.resp.Body.Close()
	}
	return nil
}

func (*h2Conn) SetDeadline(time.Time) error      { return nil }
func (*h2Conn) SetReadDeadline(time.Time) error  { return nil }
func (*h2Conn) SetWriteDeadline(time.Time) error { return nil }
func (*h2Conn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*h2Conn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

// way is a client and the URL that it uses.
type way = struct {
	client *http.Client
	base   string
}

// extended returns the clients that support extended CONNECT.
func (b *bench) extended() map[string]way {
	b.t.Helper()
	//nolint:staticcheck // net/http's own client refuses the header :protocol
	plain := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	//nolint:staticcheck // as above
	secure := &http2.Transport{TLSClientConfig: &tls.Config{RootCAs: b.roots(), ServerName: "localhost"}}
	b.t.Cleanup(func() {
		plain.CloseIdleConnections()  //nolint:staticcheck // as above
		secure.CloseIdleConnections() //nolint:staticcheck // as above
	})
	return map[string]way{"h2c": {&http.Client{Transport: plain}, b.PublicURL()}, "h2": {&http.Client{Transport: secure}, b.PublicTLSURL()}}
}

// dialers returns the functions that open a WebSocket, by protocol.
func (b *bench) dialers() map[string]func(t *testing.T, path string) (*gorilla.Conn, *http.Response, error) {
	out := make(map[string]func(*testing.T, string) (*gorilla.Conn, *http.Response, error))
	clients := b.extended()
	clients["http1"] = b.clients()["http1"]
	for name, c := range clients {
		d := gorilla.Dialer{Subprotocols: []string{"chat"}, TLSClientConfig: &tls.Config{RootCAs: b.roots(), ServerName: "localhost"}}
		base := "ws" + strings.TrimPrefix(c.base, "http")
		if name != "http1" {
			d.NetDial = func(string, string) (net.Conn, error) { return &h2Conn{client: c.client, url: c.base}, nil }
			base = "ws://" + strings.TrimPrefix(strings.TrimPrefix(c.base, "https://"), "http://")
		}
		out[name] = func(_ *testing.T, path string) (*gorilla.Conn, *http.Response, error) { return d.Dial(base+path, nil) }
	}
	conf := &tls.Config{RootCAs: b.roots(), ServerName: "localhost", NextProtos: []string{"http/1.1"}}
	d := gorilla.Dialer{Subprotocols: []string{"chat"}, TLSClientConfig: conf}
	out["https1"] = func(_ *testing.T, path string) (*gorilla.Conn, *http.Response, error) {
		return d.Dial("wss"+strings.TrimPrefix(b.PublicTLSURL(), "https")+path, nil)
	}
	return out
}
