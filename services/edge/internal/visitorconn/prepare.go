package visitorconn

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"

	"github.com/pires/go-proxyproto"
)

// proxyHeadSize is the buffer for the header of the PROXY protocol. A longer one, which is full of extensions that this
// edge does not read, is refused.
const proxyHeadSize = 4 << 10

// plainHTTP is the response to HTTP on a TLS port. Its version is that of net/http in the same case.
const plainHTTP = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis port speaks HTTPS.\n"

// prepare makes a connection ready for the server. It returns nil when it has closed the connection.
func (g *Gate) prepare(ctx context.Context, tcp net.Conn, conf *tls.Config) net.Conn {
	c := &conn{Conn: tcp, writeTimeout: g.cfg.WriteTimeout}
	proxied := g.cfg.ProxyProtocol && g.cfg.Proxies.Contain(addrOf(tcp.RemoteAddr()))
	if !proxied && !g.take(c) {
		return nil
	}
	if proxied {
		if err := readProxyHeader(ctx, c); err != nil {
			g.metrics.proxyHeads.Inc()
			_ = tcp.Close() // without its header a response would be of no use
			return nil
		}
		if !g.take(c) {
			return nil
		}
	}
	if conf == nil {
		return newGuardedConn(c, true, g)
	}
	t := tls.Server(c, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		g.metrics.handshakes.Inc()
		var header tls.RecordHeaderError
		if errors.As(err, &header) && header.Conn != nil && looksLikeHTTP(header.RecordHeader) {
			_, _ = io.WriteString(c, plainHTTP) // for a user who has opened http:// on the TLS port; it may get lost
		}
		_ = c.Close() // the handshake has already failed
		return nil
	}
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		return t
	}
	return guardedTLS{newGuardedConn(t, false, g), t}
}

// take admits a connection under the visitor's address, or resets it.
func (g *Gate) take(c *conn) bool {
	addr := addrOf(c.RemoteAddr())
	if c.leave = g.admit(addr); c.leave != nil {
		return true
	}
	c.leave = func() {}
	Reset(c)
	return false
}

// readProxyHeader reads the header of the PROXY protocol, version 1 or 2, and keeps the visitor's address. A header without
// one (LOCAL, UNKNOWN) leaves that of the proxy.
func readProxyHeader(ctx context.Context, c *conn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Conn.Close() }) // wakes the read
	defer stop()
	br := bufio.NewReaderSize(c.Conn, proxyHeadSize)
	h, err := proxyproto.Read(br)
	if err != nil {
		return err
	}
	if src, _, ok := h.TCPAddrs(); ok && !h.Command.IsLocal() {
		c.remote = src
	}
	if n := br.Buffered(); n > 0 {
		early, _ := br.Peek(n) // they are buffered
		c.early = append(c.early, early...)
	}
	return nil
}

func looksLikeHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	default:
		return false
	}
}
