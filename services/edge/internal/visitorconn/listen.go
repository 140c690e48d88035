package visitorconn

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Keep-alive probes notice a visitor whose machine or network is gone after keepAliveIdle + keepAliveCount *
// keepAliveInterval, however long the connection is idle.
const (
	keepAliveIdle     = 30 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 4
)

// Listener accepts the connections of visitors and prepares them. It is the net.Listener of a net/http server.
type Listener struct {
	tcp  net.Listener
	gate *Gate
	tls  *tls.Config // nil for cleartext
	// The channels carry what Run accepted, when connections have to be prepared.
	ready  chan net.Conn
	failed chan error
	// closed ends Run and what waits for the server.
	closed    chan struct{}
	closeOnce sync.Once
}

var _ net.Listener = (*Listener)(nil)

// Listen binds addr. conf is nil for cleartext, where HTTP/2 with prior knowledge is accepted as well. An IPv4 address, also
// 0.0.0.0, accepts IPv4 alone.
func (g *Gate) Listen(addr netip.AddrPort, conf *tls.Config) (*Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	}}
	network := "tcp"
	if addr.Addr().Unmap().Is4() {
		network = "tcp4"
	}
	l, err := lc.Listen(context.Background(), network, addr.String()) // binding an address does not wait
	if err != nil {
		return nil, err
	}
	return &Listener{
		tcp: l, gate: g, tls: conf, ready: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{}),
	}, nil
}

// prepares reports whether connections need slow steps before the server may have them.
func (l *Listener) prepares() bool { return l.tls != nil || l.gate.cfg.ProxyProtocol }

// Addr is the bound address.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// AddrPort is the bound address.
func (l *Listener) AddrPort() netip.AddrPort {
	a, ok := l.tcp.Addr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// Run prepares connections until the listener is closed, and waits for those that are being prepared. ctx gives values, not
// the end: the server closes the listener when it is time.
func (l *Listener) Run(ctx context.Context) error {
	if !l.prepares() {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for {
		c, err := l.tcp.Accept()
		if err == nil {
			work.Go(func() { l.deliver(ctx, c) })
			continue
		}
		select {
		case l.failed <- err: // the server decides whether to wait and try again
		case <-l.closed:
			return nil
		}
	}
}

// deliver prepares a connection and hands it to the server.
func (l *Listener) deliver(ctx context.Context, tcp net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, l.gate.cfg.PrepareTimeout)
	defer cancel()
	c := l.gate.prepare(ctx, tcp, l.tls)
	if c == nil {
		return
	}
	select {
	case l.ready <- c:
	case <-l.closed:
		_ = c.Close() // there is no server any more
	}
}

// Accept returns the next connection that is ready for the server.
func (l *Listener) Accept() (net.Conn, error) {
	for !l.prepares() {
		tcp, err := l.tcp.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.gate.prepare(context.Background(), tcp, nil); c != nil { // no step waits
			return c, nil
		}
	}
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close frees the address and ends Run.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.tcp.Close()
}
