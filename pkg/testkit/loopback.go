package testkit

import (
	"net"
	"net/netip"
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

// FreeTCP returns a loopback address whose TCP port was free a moment ago. Another process may take it before the
// caller does: prefer ListenTCP, or port 0, where the code under test allows it.
func FreeTCP(t testing.TB) netip.AddrPort {
	t.Helper()
	l := ListenTCP(t)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// FreeUDP returns a loopback address whose UDP port was free a moment ago, see FreeTCP.
func FreeUDP(t testing.TB) netip.AddrPort {
	t.Helper()
	c := ListenUDP(t)
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// FreeTCPAndUDP returns a loopback address whose port was free for TCP and UDP a moment ago, see FreeTCP.
func FreeTCPAndUDP(t testing.TB) netip.AddrPort {
	t.Helper()
	for range 100 {
		addr := FreeUDP(t)
		if l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr)); err == nil {
			_ = l.Close() // nothing was accepted
			return addr
		}
	}
	t.Fatal("no port is free for both TCP and UDP")
	return netip.AddrPort{}
}
