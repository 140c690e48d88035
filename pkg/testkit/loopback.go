package testkit

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// Loopback is 127.0.0.1 with a port; port 0 lets the system choose.
func Loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// ListenTCP listens on a port of the loopback address until the test ends.
func ListenTCP(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(Loopback(0)))
	if err != nil {
		t.Fatalf("listen on a loopback TCP port: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() }) // the test may have closed it already
	return l
}

// ListenUDP opens a UDP socket on a port of the loopback address until the test ends.
func ListenUDP(t testing.TB) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(Loopback(0)))
	if err != nil {
		t.Fatalf("listen on a loopback UDP port: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the test may have closed it already
	return c
}

// The range of ports that the Free functions choose from. It lies below the range that systems use for port 0 and for
// outgoing connections (32768 and up on Linux, 49152 and up elsewhere), so that nothing takes a port between the choice
// and its use but a program that listens on a fixed port.
const (
	firstFreePort = 10_000
	freePorts     = 22_000
)

// FreeTCP returns a loopback address whose TCP port is free. Prefer ListenTCP, or port 0, where the code under test
// allows it: another process may take the port before the caller does.
func FreeTCP(t testing.TB) netip.AddrPort {
	t.Helper()
	return free(t, tcpIsFree)
}

// FreeUDP returns a loopback address whose UDP port is free, see FreeTCP.
func FreeUDP(t testing.TB) netip.AddrPort {
	t.Helper()
	return free(t, udpIsFree)
}

// FreeTCPAndUDP returns a loopback address whose port is free for TCP and for UDP, see FreeTCP.
func FreeTCPAndUDP(t testing.TB) netip.AddrPort {
	t.Helper()
	return free(t, func(addr netip.AddrPort) bool { return tcpIsFree(addr) && udpIsFree(addr) })
}

// given holds the ports that the Free functions have returned: their users may not have opened them yet.
var given sync.Map //nolint:gochecknoglobals // all tests of a process choose from the same ports

func free(t testing.TB, isFree func(netip.AddrPort) bool) netip.AddrPort {
	t.Helper()
	for range 100 {
		addr := Loopback(uint16(firstFreePort + rand.IntN(freePorts)))
		if !isFree(addr) {
			continue
		}
		if _, before := given.LoadOrStore(addr.Port(), true); !before {
			return addr
		}
	}
	t.Fatal("no free port found")
	return netip.AddrPort{}
}

func tcpIsFree(addr netip.AddrPort) bool {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return false
	}
	_ = l.Close() // nothing was accepted
	return true
}

func udpIsFree(addr netip.AddrPort) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was sent
	return true
}
