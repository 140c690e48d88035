package quic

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	quicgo "github.com/quic-go/quic-go"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// DialConfig has the addresses and settings of a session that is dialled.
type DialConfig struct {
	// Edge is the address to dial.
	Edge netip.AddrPort
	// LocalIP binds the socket to one address; the zero value binds the wildcard.
	LocalIP netip.Addr
	// LocalPort is the port of the former session of the same connection index, 0 for any. When the port is in use, another
	// one is taken; Session.LocalAddr gives it for the next dial (docs/spec/wire.md 4).
	LocalPort uint16
	// TLS is usually ClientTLS.
	TLS      *tls.Config
	Settings Settings
}

// Dial makes a session to an edge and returns when the handshake is complete. Every error is a *tunnel.ConnError with
// ReasonDial, ReasonClosed, ReasonBlocked, ReasonTLS or ReasonInternal.
func Dial(ctx context.Context, c DialConfig) (*Session, error) {
	if c.TLS == nil || !c.Edge.IsValid() {
		return nil, &tunnel.ConnError{Reason: tunnel.ReasonInternal, Err: errors.New("quic dial without address or TLS configuration")}
	}
	udp, err := bind(c)
	if err != nil {
		return nil, bindError(fmt.Errorf("bind udp socket: %w", err))
	}
	dialCtx, unwatch := whileOpen(ctx, c)
	// Only this function of the library uses a source connection id of length zero.
	conn, err := quicgo.Dial(dialCtx, udp, net.UDPAddrFromAddrPort(c.Edge), c.TLS, c.Settings.config(c.Edge.Addr()))
	unwatch()
	if err != nil {
		if cause := context.Cause(dialCtx); errors.Is(cause, errPortClosed) {
			err = cause
		}
		_ = udp.Close() // the dial error says more
		return nil, dialError(fmt.Errorf("quic dial %s: %w", c.Edge, err))
	}
	return newSession(conn, udp, c.Settings), nil //nolint:contextcheck // a session outlives its dial
}

// bind makes the socket, with LocalPort if that is free and with any port if not.
func bind(c DialConfig) (*net.UDPConn, error) {
	network := "udp"
	local := &net.UDPAddr{Port: int(c.LocalPort)}
	switch {
	case c.LocalIP.IsValid():
		local.IP, local.Zone = c.LocalIP.AsSlice(), c.LocalIP.Zone()
	case runtime.GOOS == "darwin" && c.Edge.Addr().Unmap().Is4():
		network = "udp4" // macOS sets "don't fragment" on sockets of one family only
	case runtime.GOOS == "darwin":
		network = "udp6"
	}
	udp, err := net.ListenUDP(network, local)
	if err == nil || c.LocalPort == 0 {
		return udp, err
	}
	local.Port = 0
	return net.ListenUDP(network, local)
}
