package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Networks of an endpoint.
const (
	networkUnix = "unix"
	networkTCP  = "tcp"
)

// TCP keep-alive detects a dead host after about keepIdle + keepCount*keepInterval.
const (
	keepIdle     = 5 * time.Second
	keepInterval = 2 * time.Second
	keepCount    = 3
)

// Endpoint is the address of a proxy: "unix:/path" or "tcp:host:port". The zero value is no address.
type Endpoint struct {
	network string
	address string
}

// ParseEndpoint reads the text form.
func ParseEndpoint(s string) (Endpoint, error) {
	network, address, ok := strings.Cut(s, ":")
	if !ok || address == "" {
		return Endpoint{}, fmt.Errorf("link endpoint %q is neither unix:/path nor tcp:host:port", s)
	}
	switch network {
	case networkUnix:
		return Endpoint{network: networkUnix, address: address}, nil
	case networkTCP:
		if _, _, err := net.SplitHostPort(address); err != nil {
			return Endpoint{}, fmt.Errorf("link endpoint %q: %w", s, err)
		}
		return Endpoint{network: networkTCP, address: address}, nil
	default:
		return Endpoint{}, fmt.Errorf("link endpoint %q is neither unix:/path nor tcp:host:port", s)
	}
}

// EndpointOf is the endpoint that l listens on, with the port that the system chose.
func EndpointOf(l net.Listener) Endpoint {
	return Endpoint{network: l.Addr().Network(), address: l.Addr().String()}
}

// String is the text form.
func (e Endpoint) String() string {
	if e.IsZero() {
		return ""
	}
	return e.network + ":" + e.address
}

// IsZero reports whether e is the zero value.
func (e Endpoint) IsZero() bool { return e == Endpoint{} }

// Address is the path of a Unix socket, or host and port.
func (e Endpoint) Address() string { return e.address }

// IsUnix reports whether e is a Unix socket, which needs no TLS.
func (e Endpoint) IsUnix() bool { return e.network == networkUnix }

// IsHere reports whether e can be tried from this host: always for TCP, and for a Unix socket when its file is there. The
// socket of another host has no file here.
func (e Endpoint) IsHere() bool {
	if !e.IsUnix() {
		return true
	}
	_, err := os.Stat(e.address)
	return err == nil
}

// MarshalText is the form used in records and configuration.
func (e Endpoint) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText accepts what ParseEndpoint accepts, and an empty text for the zero value.
func (e *Endpoint) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*e = Endpoint{}
		return nil
	}
	v, err := ParseEndpoint(string(b))
	if err != nil {
		return err
	}
	*e = v
	return nil
}

// Listen opens the endpoint. A Unix socket gets mode 0600, and a stale socket file, on which no process listens, is replaced.
// conf is for TCP; nil means no TLS, which is safe on a trusted loopback only.
func (e Endpoint) Listen(conf *tls.Config) (net.Listener, error) {
	switch e.network {
	case networkUnix:
		return e.listenUnix()
	case networkTCP:
		l, err := net.Listen(networkTCP, e.address) //nolint:noctx // nothing to wait for
		if err != nil {
			return nil, fmt.Errorf("link listen: %w", err)
		}
		return &listener{Listener: l, conf: conf}, nil
	default:
		return nil, errors.New("link listen: no endpoint")
	}
}

func (e Endpoint) listenUnix() (net.Listener, error) {
	l, err := net.Listen(networkUnix, e.address) //nolint:noctx // nothing to wait for
	if errors.Is(err, syscall.EADDRINUSE) && e.isStale() {
		if rmErr := os.Remove(e.address); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			return nil, fmt.Errorf("remove stale link socket: %w", rmErr)
		}
		l, err = net.Listen(networkUnix, e.address) //nolint:noctx // nothing to wait for
	}
	if err != nil {
		return nil, fmt.Errorf("link listen: %w", err)
	}
	if err := os.Chmod(e.address, 0o600); err != nil && !strings.HasPrefix(e.address, "@") {
		return nil, errors.Join(fmt.Errorf("link socket mode: %w", err), l.Close())
	}
	return &listener{Listener: l}, nil
}

// isStale reports whether no process listens on the socket file.
func (e Endpoint) isStale() bool {
	c, err := net.DialTimeout(networkUnix, e.address, time.Second) //nolint:noctx // bounded by its own time-out
	if err == nil {
		_ = c.Close() // the connection itself is not needed
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// dial connects, and completes the TLS handshake where there is one.
func (e Endpoint) dial(ctx context.Context, conf *tls.Config) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive()}
	c, err := d.DialContext(ctx, e.network, e.address)
	if err != nil {
		return nil, err
	}
	if e.network != networkTCP || conf == nil {
		return c, nil
	}
	tc := tls.Client(c, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = c.Close() // the handshake error says more
		return nil, fmt.Errorf("link handshake: %w", err)
	}
	return tc, nil
}

func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepCount}
}

// listener gives TLS connections where there is a configuration; it keeps the deadline that a drain needs.
type listener struct {
	net.Listener
	conf *tls.Config
}

// Accept waits for a connection; its TLS handshake is made by the first read.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.SetKeepAliveConfig(keepAlive()) // refused only by a connection that is already gone
	}
	if l.conf == nil {
		return c, nil
	}
	return tls.Server(c, l.conf), nil
}

// SetDeadline bounds Accept.
func (l *listener) SetDeadline(t time.Time) error {
	d, ok := l.Listener.(interface{ SetDeadline(t time.Time) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return d.SetDeadline(t)
}
