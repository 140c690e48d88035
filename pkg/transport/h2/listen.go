package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

// ListenConfig says where and how sessions are accepted.
type ListenConfig struct {
	Addr netip.AddrPort
	// TLS needs certificates. Its protocol names are not used: connectors offer none.
	TLS      *tls.Config
	Settings Settings
	// Gate bounds the handshakes instead of Settings.MaxHandshakes, if it is not nil.
	Gate transport.Gate
}

// acceptPause is how long a listener waits after a failed accept, for instance without free file descriptors.
const acceptPause = 100 * time.Millisecond

// Listener accepts sessions on one TCP socket.
type Listener struct {
	tcp      *net.TCPListener
	conf     *tls.Config
	settings Settings
	ready    chan *tls.Conn
	gate     transport.Gate
	slots    chan struct{} // one per running handshake; nil with a gate
	closed   chan struct{}
	runs     sync.WaitGroup

	// mu guards the connections whose handshake runs; nil means that the listener is closed.
	mu      sync.Mutex
	shaking map[net.Conn]struct{}
}

// Listen binds the socket and starts to accept handshakes.
func Listen(c ListenConfig) (*Listener, error) {
	if c.TLS == nil {
		return nil, errors.New("http2 listener without TLS configuration")
	}
	network := "tcp"
	if c.Addr.Addr().Is4() {
		network = "tcp4" // "tcp" would take 0.0.0.0 as every address of both families
	}
	tcp, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(c.Addr))
	if err != nil {
		return nil, fmt.Errorf("bind tcp socket: %w", err)
	}
	l := &Listener{
		tcp: tcp, conf: serverTLS(c.TLS), settings: c.Settings, gate: c.Gate,
		ready: make(chan *tls.Conn), closed: make(chan struct{}), shaking: make(map[net.Conn]struct{}),
	}
	if c.Gate == nil {
		l.slots = make(chan struct{}, max(1, c.Settings.MaxHandshakes))
	}
	l.runs.Go(l.acceptLoop)
	return l, nil
}

// acceptLoop accepts connections until the listener is closed.
func (l *Listener) acceptLoop() {
	for {
		if !l.acquireSlot() {
			return
		}
		conn, err := l.tcp.Accept()
		if err != nil {
			l.releaseSlot()
			if !l.pause(err) {
				return
			}
			continue
		}
		leave := l.releaseSlot
		if l.gate != nil {
			var ok bool
			if leave, ok = l.gate.Enter(addrPort(conn.RemoteAddr()), func() { _ = conn.Close() }); !ok {
				_ = conn.Close() // nothing was exchanged
				continue
			}
		}
		l.runs.Go(func() {
			defer leave()
			l.handshake(conn)
		})
	}
}

// acquireSlot waits while too many handshakes run; false means that the listener is closed.
func (l *Listener) acquireSlot() bool {
	if l.slots == nil {
		return true
	}
	select {
	case l.slots <- struct{}{}:
		return true
	case <-l.closed:
		return false
	}
}

func (l *Listener) releaseSlot() {
	if l.slots != nil {
		<-l.slots
	}
}

// pause waits after a failed accept; false means that the listener is closed.
func (l *Listener) pause(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	timer := time.NewTimer(acceptPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.closed:
		return false
	}
}

// handshake hands a connection over once its handshake is complete. A failed one is dropped silently.
func (l *Listener) handshake(tcp net.Conn) {
	err := l.shake(tcp)
	conn := tls.Server(&socket{Conn: tcp, stall: l.settings.WriteTimeout}, l.conf)
	if err == nil {
		err = conn.Handshake() //nolint:noctx // its end is the connection's deadline, or Close
	}
	l.shaken(tcp)
	if err == nil {
		err = tcp.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = tcp.Close() // as above
		return
	}
	select {
	case l.ready <- conn:
	case <-l.closed:
		_ = tcp.Close() // the listener is closed
	}
}

func (l *Listener) shake(tcp net.Conn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shaking == nil {
		return net.ErrClosed
	}
	l.shaking[tcp] = struct{}{}
	return tcp.SetReadDeadline(time.Now().Add(l.settings.HandshakeTimeout))
}

func (l *Listener) shaken(tcp net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.shaking, tcp)
}

// Accept waits for a session whose handshake is complete.
func (l *Listener) Accept(ctx context.Context) (*Session, error) {
	select {
	case conn := <-l.ready:
		return newEdge(ctx, conn, l.settings), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("accept http2 session: %w", ctx.Err())
	case <-l.closed:
		return nil, fmt.Errorf("accept http2 session: %w", net.ErrClosed)
	}
}

// Addr is the bound address.
func (l *Listener) Addr() netip.AddrPort { return addrPort(l.tcp.Addr()) }

// Close stops accepting, closes the socket, ends running handshakes and waits for them. Sessions that were accepted
// stay. Idempotent.
func (l *Listener) Close() error {
	l.mu.Lock()
	shaking := l.shaking
	if l.shaking != nil {
		close(l.closed)
	}
	l.shaking = nil
	l.mu.Unlock()
	err := l.tcp.Close()
	for tcp := range shaking {
		_ = tcp.Close() // its handshake fails
	}
	l.runs.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close http2 listener: %w", err)
	}
	return nil
}
