package quic

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	quicgo "github.com/quic-go/quic-go"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

// ListenConfig says where and how sessions are accepted.
type ListenConfig struct {
	Addr netip.AddrPort
	// TLS needs certificates; the wire's protocol name is added when NextProtos is empty.
	TLS      *tls.Config
	Settings Settings
	// Gate bounds the handshakes; while it is loaded, peers prove their address first by a Retry. nil sets no bound.
	Gate transport.Gate
}

// Listener accepts sessions on one UDP socket.
type Listener struct {
	udp *net.UDPConn
	tr  *quicgo.Transport
	ln  *quicgo.Listener

	settings Settings
}

// Listen binds the socket and starts to accept handshakes.
func Listen(c ListenConfig) (*Listener, error) {
	if c.TLS == nil {
		return nil, errors.New("quic listener without TLS configuration")
	}
	conf := c.TLS
	if len(conf.NextProtos) == 0 {
		conf = conf.Clone()
		conf.NextProtos = []string{ALPN}
	}
	network := "udp"
	if c.Addr.Addr().Is4() {
		network = "udp4" // "udp" would take 0.0.0.0 as every address of both families
	}
	udp, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(c.Addr))
	if err != nil {
		return nil, fmt.Errorf("bind udp socket: %w", err)
	}
	// A stateless reset ends a session at the connector at once when the edge has lost its state. A random key cannot do
	// that for sessions of an earlier process.
	var key quicgo.StatelessResetKey
	_, _ = rand.Read(key[:]) // never fails
	tr := &quicgo.Transport{Conn: udp, StatelessResetKey: &key}
	if c.Gate != nil {
		tr.VerifySourceAddress = func(net.Addr) bool { return c.Gate.Loaded() }
		tr.ConnContext = enter(c.Gate)
	}
	ln, err := tr.Listen(conf, c.Settings.config(c.Addr.Addr()))
	if err != nil {
		_ = tr.Close() // the listen error says more
		_ = udp.Close()
		return nil, fmt.Errorf("quic listen %s: %w", c.Addr, err)
	}
	return &Listener{udp: udp, tr: tr, ln: ln, settings: c.Settings}, nil
}

// leaveKey is the key of the context value of a connection by which its place at the gate is given back.
type leaveKey struct{}

// errGate refuses a connection before its handshake.
var errGate = errors.New("too many handshakes")

// enter asks the gate about each new connection. The connection's context ends when its handshake fails.
func enter(gate transport.Gate) func(context.Context, *quicgo.ClientInfo) (context.Context, error) {
	return func(ctx context.Context, info *quicgo.ClientInfo) (context.Context, error) {
		leave, ok := gate.Enter(addrPort(info.RemoteAddr), nil)
		if !ok {
			return nil, errGate
		}
		leave = sync.OnceFunc(leave)
		context.AfterFunc(ctx, leave)
		return context.WithValue(ctx, leaveKey{}, leave), nil
	}
}

// Accept waits for a session whose handshake is complete.
func (l *Listener) Accept(ctx context.Context) (*Session, error) {
	conn, err := l.ln.Accept(ctx)
	if err != nil {
		return nil, fmt.Errorf("accept quic session: %w", err)
	}
	if leave, ok := conn.Context().Value(leaveKey{}).(func()); ok {
		leave()
	}
	return newSession(conn, nil, l.settings), nil //nolint:contextcheck // a session outlives its accept
}

// Addr is the bound address.
func (l *Listener) Addr() netip.AddrPort { return addrPort(l.udp.LocalAddr()) }

// Close stops accepting and closes the socket. Close the sessions first: the peers of those that are left learn of the
// end only by their timeouts.
func (l *Listener) Close() error {
	err := errors.Join(l.ln.Close(), l.tr.Close(), l.udp.Close())
	if err != nil {
		return fmt.Errorf("close quic listener: %w", err)
	}
	return nil
}
