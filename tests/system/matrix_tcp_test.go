//go:build system

package system_test

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/tests/harness"
)

func deadline() time.Time { return time.Now().Add(patience) }

// operate runs an operator's command against the edge of the deployment.
func (d *deployment) operate(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Binary(t, "culvert"), args...)
	cmd.Env = append(cmd.Environ(), "CULVERT_DATA_DIR="+d.edge.Data)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("culvert %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// publish opens a public port of the edge and returns its address.
func (d *deployment) publish(t *testing.T, network string, more ...string) string {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	d.publishAt(t, network, addr, more...)
	return addr
}

// publishAt opens a public port with a given address.
func (d *deployment) publishAt(t *testing.T, network, addr string, more ...string) {
	t.Helper()
	d.operate(t, append(append([]string{"route", "add"}, more...), network+"://"+addr, "peer")...)
	t.Cleanup(func() {
		cmd := exec.Command(harness.Binary(t, "culvert"), "route", "delete", network+"://"+addr)
		cmd.Env = append(cmd.Environ(), "CULVERT_DATA_DIR="+d.edge.Data)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("route delete: %v\n%s", err, out)
		}
	})
}

// testTCP checks both ways to a TCP service: the private network, and an ingress rule reached as WebSocket.
func (d *deployment) testTCP(t *testing.T) {
	for name, more := range map[string][]string{
		"private network": {"--to", d.origins.tcp},
		"ingress rule":    {"--host", "tcp.test"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := d.publish(t, "tcp", more...)
			if d.form == stock { // it ends both directions as soon as one ends, so the response is lost
				if got, err := ask(addr, pattern(1000, 5)); got == sum(1000, 5) {
					t.Errorf("half-close passes through the stock connector (%v): the table of differences is out of date", err)
				}
				return
			}
			for _, n := range sizes() {
				got, err := ask(addr, pattern(n, 5))
				if err != nil || got != sum(n, 5) {
					t.Errorf("%d bytes: response %.80q, %v", n, got, err)
				}
			}
		})
	}
	t.Run("duplex", func(t *testing.T) {
		c, err := net.Dial("tcp", d.publish(t, "tcp", "--to", d.origins.echo))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(deadline()); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		for i := range 50 {
			want := fmt.Sprintf("message %d", i)
			if _, err := io.WriteString(c, want); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf[:len(want)]); err != nil || string(buf[:len(want)]) != want {
				t.Fatalf("echo %d: %q, %v", i, buf[:len(want)], err)
			}
		}
	})
}

// ask sends a body, closes its direction, and reads the response.
func ask(addr string, body io.Reader) (string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(deadline()); err != nil {
		return "", err
	}
	if _, err := io.Copy(c, body); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	got, err := io.ReadAll(c)
	return string(got), err
}
