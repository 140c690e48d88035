//go:build system

package system_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/culvert-tunnel/culvert/pkg/transport/quic"
)

// visitorTarget has the public addresses of an edge.
type visitorTarget struct{ http, https, caFile, tcp, connectors string }

func countBody(resp *http.Response) (int64, error) {
	defer resp.Body.Close()
	return io.Copy(io.Discard, resp.Body)
}

// attacks are those that need no secret: only the public addresses and the address for connectors.
func (v visitorTarget) attacks() map[string]attack {
	return map[string]attack{
		"slow heads": func(ctx context.Context) int {
			return crowd(ctx, 500, func(ctx context.Context) { drip(ctx, v.http, "GET / HTTP/1.1\r\nHost: a\r\nX: ") })
		},
		"slow bodies": func(ctx context.Context) int {
			return crowd(ctx, 200, func(ctx context.Context) {
				drip(ctx, v.http, "POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
			})
		},
		"malformed heads": func(ctx context.Context) int {
			return times(ctx, 4000, 8, func(i int) { throw(ctx, v.http, malformed(i)) })
		},
		"head bombs": func(ctx context.Context) int {
			bomb := []byte("GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Bomb: "+strings.Repeat("a", 1000)+"\r\n", 4000))
			return times(ctx, 100, 4, func(int) { throw(ctx, v.http, bomb) })
		},
		"greedy downloads": func(ctx context.Context) int {
			return crowd(ctx, 100, func(ctx context.Context) {
				hold(ctx, v.http, []byte("GET /bytes/67108864 HTTP/1.1\r\nHost: a\r\n\r\n"))
			})
		},
		"websocket garbage": func(ctx context.Context) int {
			return times(ctx, 500, 8, func(int) {
				throw(ctx, v.http, append([]byte("GET /coder HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
					"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"), noise(2000)...))
			})
		},
		"no tls": func(ctx context.Context) int {
			return times(ctx, 1000, 8, func(int) { throw(ctx, v.https, noise(500)) })
		},
		"h2 rapid resets":   func(ctx context.Context) int { return v.rapidResets(ctx) },
		"h2 head bombs":     func(ctx context.Context) int { return v.headBombs(ctx) },
		"h2 without window": func(ctx context.Context) int { return v.noWindow(ctx) },
		"tcp port, resets":  func(ctx context.Context) int { return times(ctx, 3000, 8, func(int) { throw(ctx, v.tcp, noise(700)) }) },
		"tcp port, stalled": func(ctx context.Context) int {
			return crowd(ctx, 200, func(ctx context.Context) { hold(ctx, v.tcp, noise(2<<20)) })
		},
		"false connectors": func(ctx context.Context) int { return times(ctx, 300, 4, func(i int) { v.falseConnector(ctx, i) }) },
		"garbage for quic": func(ctx context.Context) int {
			c, err := net.Dial("udp", v.connectors)
			if err != nil {
				return 0
			}
			defer c.Close()
			return times(ctx, 20000, 1, func(i int) { _, _ = c.Write(noise(20 + i%1400)) })
		},
		"garbage for http2": func(ctx context.Context) int {
			return times(ctx, 500, 4, func(int) { throw(ctx, v.connectors, noise(500)) })
		},
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// times makes n attempts, some at a time, until ctx ends.
func times(ctx context.Context, n, parallel int, f func(i int)) int {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) || ctx.Err() != nil {
					return
				}
				f(int(i))
			}
		})
	}
	wg.Wait()
	return int(min(next.Load(), int64(n)))
}

// crowd holds n of a kind until ctx ends.
func crowd(ctx context.Context, n int, f func(ctx context.Context)) int {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { f(ctx) })
	}
	wg.Wait()
	return n
}

func dialUntil(ctx context.Context, addr string) (net.Conn, func()) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, func() {}
	}
	unhook := context.AfterFunc(ctx, func() { _ = c.Close() })
	return c, func() {
		unhook()
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
}

// throw sends b, waits shortly for the beginning of a response, and resets the connection.
func throw(ctx context.Context, addr string, b []byte) {
	c, done := dialUntil(ctx, addr)
	defer done()
	if c == nil {
		return
	}
	_, _ = c.Write(b)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, _ = c.Read(make([]byte, 64))
}

// hold sends b and reads nothing until ctx ends.
func hold(ctx context.Context, addr string, b []byte) {
	c, done := dialUntil(ctx, addr)
	defer done()
	if c == nil {
		return
	}
	_, _ = c.Write(b)
	<-ctx.Done()
}

// drip sends head, then one byte at a time.
func drip(ctx context.Context, addr, begin string) {
	c, done := dialUntil(ctx, addr)
	defer done()
	if c == nil {
		return
	}
	b := []byte(begin)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
		b = []byte{'a'}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// malformed are request heads that are ambiguous or invalid.
func malformed(i int) []byte {
	const begin = "POST / HTTP/1.1\r\nHost: a\r\n"
	all := []string{
		begin + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		begin + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		begin + "Content-Length: -1\r\n\r\n",
		begin + "X: a\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
		begin + "X: a\x00b\r\n\r\n",
		begin + "X : a\r\n\r\n",
		begin + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
		begin + "Transfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("x", 5000) + "\r\nhello\r\n",
		begin + "Transfer-Encoding: gzip, chunked, identity\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(noise(100)),
	}
	return []byte(all[i%len(all)])
}

// h2 is a visitor's HTTP/2 connection that sends frames by hand.
func (v visitorTarget) h2(ctx context.Context) (*http2.Framer, net.Conn, func()) {
	c, done := dialUntil(ctx, v.https)
	if c == nil {
		return nil, nil, done
	}
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h2"}})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, done
	}
	_, _ = conn.Write([]byte(http2.ClientPreface))
	return http2.NewFramer(conn, conn), conn, done
}

func headBlock(path string, more ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "localhost"}, {":path", path}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	for i := 0; i < len(more); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: more[i], Value: more[i+1]})
	}
	return b.Bytes()
}

func (v visitorTarget) rapidResets(ctx context.Context) int {
	block := headBlock("/bytes/1000000")
	return times(ctx, 16, 4, func(int) {
		fr, conn, done := v.h2(ctx)
		defer done()
		if fr == nil {
			return
		}
		_ = fr.WriteSettings()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		for id := uint32(1); id < 20000; id += 2 {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true})
			if fr.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	})
}

func (v visitorTarget) headBombs(ctx context.Context) int {
	bomb := append(headBlock("/", "x-bomb", strings.Repeat("a", 4000)), bytes.Repeat([]byte{0x80 | 62}, 12000)...)
	return times(ctx, 200, 4, func(int) {
		fr, conn, done := v.h2(ctx)
		defer done()
		if fr == nil {
			return
		}
		_ = fr.WriteSettings()
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: bomb, EndHeaders: true})
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, conn)
	})
}

// noWindow requests large responses and grants no flow control window for them.
func (v visitorTarget) noWindow(ctx context.Context) int {
	block := headBlock("/bytes/67108864")
	return crowd(ctx, 8, func(ctx context.Context) {
		fr, _, done := v.h2(ctx)
		defer done()
		if fr == nil {
			return
		}
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		for id := uint32(1); id < 400; id += 2 {
			if fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}) != nil {
				return
			}
		}
		<-ctx.Done()
	})
}

// falseConnector connects like a connector and sends nothing, or garbage.
func (v visitorTarget) falseConnector(ctx context.Context, i int) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	pool, err := rootPool(v.caFile)
	if err != nil {
		return
	}
	s, err := quic.Dial(
		ctx,
		quic.DialConfig{Edge: netip.MustParseAddrPort(v.connectors), TLS: quic.ClientTLS(pool, false), Settings: quic.ConnectorSettings()},
	)
	if err != nil {
		return
	}
	defer func() { _ = s.CloseWithError(0, "") }()
	st, err := s.OpenStream(ctx)
	if err != nil {
		return
	}
	switch i % 4 {
	case 0: // silence
	case 1:
		_, _ = st.Write(noise(4000))
	case 2:
		_, _ = st.Write([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0x0f}) // a message of 2 GiB
	case 3:
		for range 200 {
			_ = s.SendDatagram(noise(100))
		}
		for range 50 {
			more, err := s.OpenStream(ctx)
			if err != nil {
				return
			}
			_, _ = more.Write(noise(100))
			more.CancelWrite(0)
		}
	}
	_ = st.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	_, _ = st.Read(make([]byte, 100))
}

// manySources sends datagrams from many ports, more than the edge keeps associations for.
func manySources(ctx context.Context, addr string) int {
	sizes := []int{0, 1, 100, 1200, 1472, 9000, 60000}
	return times(ctx, 5000, 8, func(i int) {
		c, err := net.Dial("udp", addr)
		if err != nil {
			return
		}
		defer c.Close()
		for j := range 3 {
			_, _ = c.Write(noise(sizes[(i+j)%len(sizes)]))
		}
	})
}

func rootPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", path)
	}
	return pool, nil
}
