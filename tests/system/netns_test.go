//go:build system && linux

package system_test

import (
	bigendian "encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/culvert-tunnel/culvert/tests/harness"
)

// The two hosts of a twoHosts: each address of the server is there twice, and the second is what clients dial. The kernel
// never picks the second by itself.
const (
	serverFirst4  = "10.77.0.1"
	serverSecond4 = "10.77.0.9"
	serverFirst6  = "fd77::1"
	serverSecond6 = "fd77::9"
	clientOwn4    = "10.77.0.2"
	clientOwn6    = "fd77::2"
)

// twoHosts are a server with several addresses and a client, as network namespaces joined by one cable.
type twoHosts struct{ server, client string }

// newTwoHosts makes the namespaces and removes them with the test.
func newTwoHosts(t *testing.T) *twoHosts {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	ip := harness.Installed(t, "ip")
	h := &twoHosts{fmt.Sprintf("culvert-%d-server", os.Getpid()), fmt.Sprintf("culvert-%d-client", os.Getpid())}
	for _, ns := range []string{h.server, h.client} {
		if out, err := exec.Command(ip, "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("this system gives no network namespaces: %v: %s", err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command(ip, "netns", "delete", ns).CombinedOutput(); err != nil {
				t.Errorf("netns delete %s: %v: %s", ns, err, out)
			}
		})
	}
	run := func(command string) {
		t.Helper()
		if out, err := exec.Command(ip, strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", command, err, out)
		}
	}
	run("link add cable netns " + h.server + " type veth peer name cable netns " + h.client)
	for _, ns := range []string{h.server, h.client} {
		run("-n " + ns + " link set lo up")
		run("-n " + ns + " link set cable up")
	}
	run("-n " + h.server + " addr add " + serverFirst4 + "/24 dev cable")
	run("-n " + h.server + " addr add " + serverSecond4 + "/24 dev cable")
	run("-n " + h.server + " addr add " + serverFirst6 + "/64 dev cable nodad")
	run("-n " + h.server + " addr add " + serverSecond6 + "/64 dev cable nodad preferred_lft 0")
	run("-n " + h.client + " addr add " + clientOwn4 + "/24 dev cable")
	run("-n " + h.client + " addr add " + clientOwn6 + "/64 dev cable nodad")
	return h
}

// Addresses that are on no cable: the service's on the server's loopback, the client's own on its loopback.
const (
	serviceFar4 = "10.99.0.1"
	serviceFar6 = "fd99::1"
	clientFar4  = "10.88.0.2"
	clientFar6  = "fd88::2"
)

// asymmetric adds a second cable and routes: what the client sends to the service takes the first cable, and the server's
// route back to the client is the second one.
func (h *twoHosts) asymmetric(t *testing.T) {
	t.Helper()
	ip := harness.Installed(t, "ip")
	for _, command := range []string{
		"link add second netns " + h.server + " type veth peer name second netns " + h.client,
		"-n " + h.server + " link set second up", "-n " + h.client + " link set second up",
		"-n " + h.server + " addr add 10.78.0.1/24 dev second", "-n " + h.client + " addr add 10.78.0.2/24 dev second",
		"-n " + h.server + " addr add fd78::1/64 dev second nodad", "-n " + h.client + " addr add fd78::2/64 dev second nodad",
		"-n " + h.server + " addr add " + serviceFar4 + "/32 dev lo", "-n " + h.server + " addr add " + serviceFar6 + "/128 dev lo",
		"-n " + h.client + " addr add " + clientFar4 + "/32 dev lo", "-n " + h.client + " addr add " + clientFar6 + "/128 dev lo",
		"-n " + h.client + " route add " + serviceFar4 + " via " + serverFirst4,
		"-n " + h.client + " route add " + serviceFar6 + " via " + serverFirst6,
		"-n " + h.server + " route add " + clientFar4 + " via 10.78.0.2", "-n " + h.server + " route add " + clientFar6 + " via fd78::2",
	} {
		if out, err := exec.Command(ip, strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", command, err, out)
		}
	}
}

// in runs f on a thread in a namespace; sockets that it opens stay there.
func (h *twoHosts) in(t *testing.T, ns string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			runtime.LockOSThread() // for ever: the thread ends with the goroutine and takes its namespace along
			there, err := os.Open("/run/netns/" + ns)
			if err != nil {
				return err
			}
			defer there.Close()
			if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			return f()
		}()
	}()
	if err := <-done; err != nil {
		t.Fatalf("in namespace %s: %v", ns, err)
	}
}

// command is a command line that runs in a namespace.
func (h *twoHosts) command(t *testing.T, ns, path string, args ...string) (string, []string) {
	t.Helper()
	return harness.Installed(t, "ip"), append([]string{"netns", "exec", ns, path}, args...)
}

// dial returns a connected UDP socket of the client: the kernel drops packets from any other address than the dialled one.
func (h *twoHosts) dial(t *testing.T, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	return h.dialFrom(t, nil, to)
}

// dialFrom is dial from one of the client's addresses.
func (h *twoHosts) dialFrom(t *testing.T, from *net.UDPAddr, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	h.in(t, h.client, func() (err error) {
		c, err = net.DialUDP("udp", from, net.UDPAddrFromAddrPort(to))
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// capture records every packet that arrives at the client's end of the cable.
type capture struct{ fd int }

func (h *twoHosts) capture(t *testing.T) *capture {
	t.Helper()
	c := &capture{}
	h.in(t, h.client, func() (err error) {
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order, which is big-endian
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all)
		if err != nil {
			return err
		}
		return unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	})
	t.Cleanup(func() { _ = unix.Close(c.fd) })
	return c
}

// sources counts what came so far from the UDP ports, by source address. A packet is in the capture before the program that
// it is for can read it.
func (c *capture) sources(t *testing.T, ports ...uint16) map[netip.Addr]int {
	t.Helper()
	found := make(map[netip.Addr]int)
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(c.fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return found
		}
		if err != nil {
			t.Fatalf("capture: %v", err)
		}
		if from, ok := udpSource(buf[:n]); ok && slices.Contains(ports, from.Port()) {
			found[from.Addr()]++
		}
	}
}

// udpSource reads the source of a UDP packet; there are no extension headers here.
func udpSource(p []byte) (netip.AddrPort, bool) {
	const header4, header6, udp = 20, 40, 17
	switch {
	case len(p) > header4+2 && p[0]>>4 == 4 && p[9] == udp:
		size := int(p[0]&0x0f) * 4
		if len(p) < size+2 {
			return netip.AddrPort{}, false
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[12:16])), bigendian.BigEndian.Uint16(p[size:])), true
	case len(p) > header6+2 && p[0]>>4 == 6 && p[6] == udp:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(p[8:24])), bigendian.BigEndian.Uint16(p[header6:])), true
	}
	return netip.AddrPort{}, false
}

// wantOnly fails when the port responded from another address than the dialled one, or not at all.
func (c *capture) wantOnly(t *testing.T, what string, asked netip.AddrPort) {
	t.Helper()
	found := c.sources(t, asked.Port())
	t.Logf("%s: %s was asked, packets came from %v", what, asked, found)
	if len(found) != 1 || found[asked.Addr()] == 0 {
		t.Errorf("%s: packets came from %v, want from %s alone", what, found, asked.Addr())
	}
}

// wantOther fails when a server that is known to respond from the wrong address does not: the test would miss the fault.
func (c *capture) wantOther(t *testing.T, what string, asked netip.AddrPort) {
	t.Helper()
	found := c.sources(t, asked.Port())
	t.Logf("%s: %s was asked, packets came from %v", what, asked, found)
	if len(found) == 0 || found[asked.Addr()] != 0 {
		t.Errorf("%s: packets came from %v: the control does not fail as it must", what, found)
	}
}
