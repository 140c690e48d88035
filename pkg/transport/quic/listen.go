package quic

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	quicgo "github.com/quic-go/quic-go"
)

// ListenConfig says where sessions are accepted.
type ListenConfig struct {
	Addr netip.AddrPort
	// TLS needs certificates; the wire's protocol name is added when NextProtos is empty.
	TLS      *tls.Config
	Settings Settings
}

// Listener accepts sessions on one UDP socket.
type Listener struct {
	udp *net.UDPConn
	tr  *quicgo.Transport
	ln  *quicgo.Listener
}

// Listen binds the socket and starts to answer handshakes.
func Listen(c ListenConfig) (*Listener, error) {
	if c.TLS == nil {
		return nil, errors.New("quic listener without TLS configuration")
	}
	conf := c.TLS
	if len(conf.NextProtos) == 0 {
		conf = conf.Clone()
		conf.NextProtos = []string{ALPN}
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(c.Addr))
	if err != nil {
		return nil, fmt.Errorf("bind udp socket: %w", err)
	}
	// Stateless resets tell a connector at once that a restarted edge has forgotten it, but only when the key
	// outlives the process; a random one still serves sessions that this process has forgotten.
	var key quicgo.StatelessResetKey
	_, _ = rand.Read(key[:]) // never fails
	tr := &quicgo.Transport{Conn: udp, StatelessResetKey: &key}
	ln, err := tr.Listen(conf, c.Settings.config(c.Addr.Addr()))
	if err != nil {
		_ = tr.Close() // the listen error says more
		_ = udp.Close()
		return nil, fmt.Errorf("quic listen %s: %w", c.Addr, err)
	}
	return &Listener{udp: udp, tr: tr, ln: ln}, nil
}

// Accept waits for a session whose handshake is complete.
func (l *Listener) Accept(ctx context.Context) (*Session, error) {
	conn, err := l.ln.Accept(ctx)
	if err != nil {
		return nil, fmt.Errorf("accept quic session: %w", err)
	}
	return newSession(conn, nil), nil //nolint:contextcheck // a session outlives its accept
}

// Addr is the bound address.
func (l *Listener) Addr() netip.AddrPort { return addrPort(l.udp.LocalAddr()) }

// Close stops accepting and closes the socket. Close the sessions first: those that are left end without a word to
// their peers.
func (l *Listener) Close() error {
	err := errors.Join(l.ln.Close(), l.tr.Close(), l.udp.Close())
	if err != nil {
		return fmt.Errorf("close quic listener: %w", err)
	}
	return nil
}
