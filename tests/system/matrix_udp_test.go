//go:build system

package system_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// testUDP echoes packets and queries a real name server.
func (d *deployment) testUDP(t *testing.T) {
	if !d.datagrams() {
		t.Skip("HTTP/2 has no datagrams (spec of the wire)")
	}
	t.Run("echo", func(t *testing.T) {
		c := dialUDP(t, d.publish(t, "udp", "--to", d.origins.echo))
		for _, n := range []int{1, 100, 1200} {
			want := bytes.Repeat([]byte{byte(n)}, n)
			if got := exchange(t, c, want); !bytes.Equal(got, want) {
				t.Errorf("echo of %d bytes: %d bytes", n, len(got))
			}
		}
	})
	t.Run("dns", func(t *testing.T) {
		dig := harness.Installed(t, "dig")
		_, port, err := net.SplitHostPort(d.publish(t, "udp", "--to", dnsServer(t)))
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), dig, "@127.0.0.1", "-p", port, "+short", "+tries=5", "tunnel.example").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "192.0.2.77" {
			t.Errorf("dig: %q, %v", out, err)
		}
	})
}

// dnsServer is a dnsmasq that knows one name.
func dnsServer(t *testing.T) string {
	t.Helper()
	dnsmasq := harness.Installed(t, "dnsmasq")
	port := harness.FreePort(t)
	conf := filepath.Join(t.TempDir(), "dnsmasq.conf")
	if err := os.WriteFile(conf, []byte("no-resolv\nno-hosts\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	harness.Start(t, nil, dnsmasq, "--keep-in-foreground", "--conf-file="+conf, fmt.Sprintf("--port=%d", port), "--listen-address=127.0.0.1",
		"--bind-interfaces", "--user=root", "--address=/tunnel.example/192.0.2.77", "--pid-file="+conf+".pid")
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	testkit.Retry(t, "dnsmasq", patience, func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
	return addr
}

func dialUDP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// exchange sends a packet again until a response arrives, since packets may be lost.
func exchange(t *testing.T, c net.Conn, packet []byte) []byte {
	t.Helper()
	buf := make([]byte, 2048)
	for range 20 {
		if _, err := c.Write(packet); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(buf); err == nil {
			return buf[:n]
		}
	}
	t.Fatal("no response")
	return nil
}

// insideVariable is set in a test process that runs in its own network namespace.
const insideVariable = "CULVERT_TEST_INSIDE"

// TestPing pings through the tunnel. Most systems forbid ping sockets to most groups. The setting belongs to the
// network namespace, so the test creates a namespace, allows them there, and runs inside it.
func TestPing(t *testing.T) {
	if os.Getenv(insideVariable) == "" {
		runInside(t, "TestPing")
		return
	}
	o := startOrigins(t)
	for _, f := range []form{oneProcess, split, stock} {
		t.Run(string(f), func(t *testing.T) {
			if f == stock && os.Getenv(harness.PeerVariable) == "" {
				t.Skipf("%s is not set to the path of a cloudflared binary", harness.PeerVariable)
			}
			deploy(t, f, "quic", o).testPing(t)
		})
	}
}

// runInside runs a test of this program again, in a network namespace with nothing but a loopback interface.
func runInside(t *testing.T, name string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	harness.Installed(t, "ip")
	script := `ip link set lo up && echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range && exec "$@"`
	cmd := exec.Command(harness.Installed(t, "unshare"), "--net", "sh", "-c", script, "sh", os.Args[0], "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("inside the namespace:\n%s", harness.Tail(string(out), 8000))
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// testPing receives echoes, and the address of the hop where the time to live ends.
func (d *deployment) testPing(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		out := d.operate(t, "tunnel", "ping", "--count", "3", "peer", ip)
		if n := strings.Count(out, "time="); n < 3 {
			t.Errorf("ping %s: %d responses\n%s", ip, n, out)
		}
	}
	cmd := exec.CommandContext(t.Context(), harness.Binary(t, "culvert"), "tunnel", "ping", "--count", "1", "--ttl", "1", "peer", "127.0.0.1")
	cmd.Env = append(cmd.Environ(), "CULVERT_DATA_DIR="+d.edge.Data)
	if out, _ := cmd.CombinedOutput(); !strings.Contains(strings.ReplaceAll(strings.ToLower(string(out)), "_", " "), "time exceeded") &&
		!strings.Contains(strings.ToLower(string(out)), "time to live exceeded") {
		t.Errorf("ping with a time to live of 1:\n%s", out)
	}
}
