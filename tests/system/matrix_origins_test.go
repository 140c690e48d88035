//go:build system

package system_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// origins are the services behind the connectors of the matrix; they run until the test ends.
type origins struct {
	http      *httptest.Server
	grpcPlain int // ports of the gRPC interop server, cleartext and TLS
	grpcTLS   int
	// grpcBroken are the interop cases that fail on the origin directly, with their output.
	grpcBroken map[string]string
	// ws maps a host name to the address of a WebSocket origin.
	ws   map[string]string
	tcp  string // reads everything, then responds with the checksum
	echo string // TCP echo, and UDP echo on the same port
	// events are sent to the readers of the event stream.
	events chan string
}

// Sizes of bodies; the largest is that of an ordinary download.
func sizes() []int64 { return []int64{0, 1, 1000, 16 << 10, 1<<20 + 7, 64 << 20} }

func startOrigins(t *testing.T) *origins {
	t.Helper()
	o := &origins{ws: map[string]string{}, events: make(chan string)}
	o.http = httptest.NewUnstartedServer(o.mux())
	o.http.EnableHTTP2 = false
	o.http.Start()
	t.Cleanup(o.http.Close)
	o.grpcPlain, o.grpcTLS = grpcServer(t, false), grpcServer(t, true)
	o.grpcBroken = brokenCases(t, o.grpcPlain)
	o.ws["coder.test"] = strings.TrimPrefix(o.http.URL, "http://") + "/coder"
	o.ws["gorilla.test"] = strings.TrimPrefix(o.http.URL, "http://") + "/gorilla"
	o.ws["python.test"] = pythonWebSocket(t) + "/"
	o.ws["nginx.test"] = nginxWebSocket(t, o.http.URL) + "/coder"
	o.tcp, o.echo = checksumServer(t), echoServer(t)
	return o
}

// config is the config.yml of a connector. The stock connector treats h2c as an opaque byte stream, so it uses the TLS
// origin instead.
func (o *origins) config(f form) string {
	var b strings.Builder
	rule := func(host, service string, more ...string) {
		fmt.Fprintf(&b, "  - hostname: %s\n    service: %s\n", host, service)
		if len(more) > 0 {
			fmt.Fprintf(&b, "    originRequest:\n      %s\n", strings.Join(more, "\n      "))
		}
	}
	b.WriteString("ingress:\n")
	secure := fmt.Sprintf("https://127.0.0.1:%d", o.grpcTLS)
	if f == stock {
		rule("localhost", secure, "http2Origin: true", "noTLSVerify: true")
	} else {
		rule("localhost", fmt.Sprintf("h2c://127.0.0.1:%d", o.grpcPlain))
	}
	rule("grpcs.test", secure, "http2Origin: true", "noTLSVerify: true")
	for host, addr := range o.ws {
		address, _, _ := strings.Cut(addr, "/")
		rule(host, "http://"+address)
	}
	rule("http.test", o.http.URL)
	rule("tcp.test", "tcp://"+o.tcp)
	rule("down.test", "http://127.0.0.1:1")
	b.WriteString("  - service: http_status:404\n")
	return b.String()
}

// mux is the HTTP origin.
func (o *origins) mux() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if r.FormValue("chunked") == "" {
			w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		}
		_, _ = io.Copy(w, pattern(n, 3)) // a visitor who left
	})
	m.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = fmt.Fprintf(w, "%d %s", n, hex.EncodeToString(h.Sum(nil)))
	})
	m.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // supported by this server
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				_, _ = w.Write(buf[:n]) // a visitor who left
				_ = http.NewResponseController(w).Flush()
			}
			if err != nil {
				return
			}
		}
	})
	m.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Method", r.Method)
		w.WriteHeader(code)
	})
	m.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // its trailers come with the end
		w.Header().Set("Trailer", "X-Announced")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Announced", "after the body")
		w.Header().Set(http.TrailerPrefix+"X-Surprise", "not announced")
		w.Header().Set(http.TrailerPrefix+"X-Request-Trailer", r.Trailer.Get("X-Sent"))
	})
	m.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "done")
	})
	m.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", strconv.Itoa(len(r.Header.Get("X-Large"))))
		w.Header().Set("X-Large", strings.Repeat("r", len(r.Header.Get("X-Large"))))
	})
	m.HandleFunc("/events", o.serveEvents)
	m.HandleFunc("/coder", serveCoder)
	m.HandleFunc("/gorilla", serveGorilla)
	return m
}

// serveEvents sends the events of the test, each as soon as the test provides it.
func (o *origins) serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", r.FormValue("type"))
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case e, open := <-o.events:
			if !open {
				return
			}
			if e == "end" {
				return
			}
			_, _ = io.WriteString(w, e)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// serveCoder echoes messages. It responds to a message "close N" with a close frame of code N.
func serveCoder(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has sent the error response
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	for {
		kind, b, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if code, ok := closeCode(b); ok {
			_ = c.Close(websocket.StatusCode(code), "as asked")
			return
		}
		if c.Write(r.Context(), kind, b) != nil {
			return
		}
	}
}

func serveGorilla(w http.ResponseWriter, r *http.Request) {
	up := gorilla.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has sent the error response
	}
	defer c.Close()
	for {
		kind, b, err := c.ReadMessage()
		if err != nil {
			return
		}
		if code, ok := closeCode(b); ok {
			_ = c.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(code, "as asked"), time.Now().Add(patience))
			continue // the visitor's own close ends the loop
		}
		if c.WriteMessage(kind, b) != nil {
			return
		}
	}
}

func closeCode(b []byte) (int, bool) {
	if len(b) > 16 {
		return 0, false
	}
	rest, ok := strings.CutPrefix(string(b), "close ")
	if !ok {
		return 0, false
	}
	code, err := strconv.Atoi(rest)
	return code, err == nil
}

const pythonEcho = `
import asyncio, sys, websockets
async def echo(ws, *_):
    async for m in ws:
        if isinstance(m, str) and m.startswith("close "):
            await ws.close(int(m[6:]), "as asked")
            return
        await ws.send(m)
async def main():
    async with websockets.serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None, max_queue=4, ping_interval=None):
        print("serving", flush=True)
        await asyncio.Future()
asyncio.run(main())
`

// systemPython is the interpreter that Debian's python3-websockets belongs to.
const systemPython = "/usr/bin/python3"

func pythonWebSocket(t *testing.T) string {
	t.Helper()
	port := harness.FreePort(t)
	p := harness.Start(t, nil, systemPython, "-c", pythonEcho, strconv.Itoa(port))
	p.Line(t, "serving")
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// nginxWebSocket is an nginx that passes WebSocket on to an origin.
func nginxWebSocket(t *testing.T, origin string) string {
	t.Helper()
	bin := harness.Installed(t, "nginx")
	dir, port := t.TempDir(), harness.FreePort(t)
	conf := fmt.Sprintf(`
daemon off; worker_processes 1; pid %[1]s/pid; error_log stderr warn; user root;
events { worker_connections 1024; }
http {
  access_log off; client_max_body_size 0;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server { listen 127.0.0.1:%[2]d;
    location / {
      proxy_pass %[3]s; proxy_http_version 1.1; proxy_read_timeout 1h;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
    } }
}`, dir, port, origin)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Start(t, nil, bin, "-c", path, "-p", dir)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	testkit.Retry(t, "nginx", patience, func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
	return addr
}

// grpcServer runs the interop suite's own server.
func grpcServer(t *testing.T, secure bool) int {
	t.Helper()
	port := harness.FreePort(t)
	args := []string{"--port", strconv.Itoa(port)}
	if secure {
		cert, key := testkit.NewCA(t).IssueFiles(t, "localhost")
		args = append(args, "--use_tls", "--tls_cert_file", cert, "--tls_key_file", key)
	}
	harness.Start(t, nil, harness.Binary(t, "grpc-interop-server"), args...)
	testkit.Retry(t, "gRPC interop server", patience, func() error {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		return c.Close()
	})
	return port
}

// checksumServer reads a connection to its end, then responds with the checksum of what it read. A half-close that does
// not arrive, or that cuts off the response, makes the test fail.
func checksumServer(t *testing.T) string {
	t.Helper()
	return serveTCP(t, func(c *net.TCPConn) {
		h := sha256.New()
		n, err := io.Copy(h, c)
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(c, "%d %s", n, hex.EncodeToString(h.Sum(nil)))
	})
}

// echoServer echoes over TCP and, on the same port, over UDP. It responds to a UDP packet "who" with the sender's address.
func echoServer(t *testing.T) string {
	t.Helper()
	addr := serveTCP(t, func(c *net.TCPConn) {
		_, _ = io.Copy(c, c) // a peer that left
	})
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = pc.Close()
		wg.Wait()
	})
	wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			reply := buf[:n]
			if string(reply) == "who" {
				reply = []byte(from.String())
			}
			_, _ = pc.WriteTo(reply, from) // packets may be lost
		}
	})
	return addr
}

func serveTCP(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			wg.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				serve(c.(*net.TCPConn))
			})
		}
	})
	return ln.Addr().String()
}
