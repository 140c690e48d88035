//go:build system

package system_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// TestSingleOriginStreams runs a connector with the flags of one stream service, and reaches it as clients do: a byte
// stream within a websocket.
func TestSingleOriginStreams(t *testing.T) {
	addr := netip.MustParseAddrPort(responding(t))
	connect := append([]byte{5, 1, 0, 1}, addr.Addr().AsSlice()...)
	connect = append(connect, byte(addr.Port()>>8), byte(addr.Port()))
	for _, tc := range []struct {
		name   string
		flags  []string
		header http.Header
		socks  bool
	}{
		{"tcp", []string{"--url", "tcp://" + addr.String()}, nil, false},
		{"ssh", []string{"--url", "ssh://" + addr.String()}, nil, false},
		{"bastion", []string{"--bastion"}, http.Header{"Cf-Access-Jump-Destination": {addr.String()}}, false},
		{"socks5", []string{"--url", "tcp://" + addr.String(), "--socks5"}, nil, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := harness.StartEdge(t)
			args := []string{"tunnel", "--no-autoupdate", "--cacert", filepath.Join(e.Data, "ca.pem"), "--grace-period", "5s"}
			for _, p := range e.Ports {
				args = append(args, "--edge", fmt.Sprintf("127.0.0.1:%d", p))
			}
			harness.Start(t, []string{"TUNNEL_TOKEN=" + e.Token}, harness.Binary(t, "culvert"), append(append(args, tc.flags...), "run")...)
			testkit.Retry(t, "connections", patience, func() error {
				if n := e.Connections(t); n != 4 {
					return fmt.Errorf("%d connections", n)
				}
				return nil
			})
			c := dialService(t, e, tc.header)
			if tc.socks {
				talk(t, c, []byte{5, 1, 0}, []byte{5, 0})
				reply := make([]byte, 10)
				if _, err := c.Write(connect); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c, reply); err != nil || reply[1] != 0 {
					t.Fatalf("socks reply %x, %v", reply, err)
				}
			}
			talk(t, c, []byte("request\n"), []byte("response to request\n"))
			if _, err := io.ReadAll(c); err != nil { // the origin ends, and a close frame tells it
				t.Errorf("end: %v", err)
			}
			if got, err := http.Get(e.URL); err != nil {
				t.Error(err)
			} else if _ = got.Body.Close(); got.StatusCode != http.StatusUpgradeRequired && tc.name != "bastion" {
				t.Errorf("plain request: %s", got.Status)
			}
		})
	}
}

// responding is a TCP server that responds to one line and closes.
func responding(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
					_, _ = io.WriteString(c, "response to "+line)
				}
			}()
		}
	}()
	return l.Addr().String()
}

// dialService opens the byte stream of a service behind the edge.
func dialService(t *testing.T, e *harness.Edge, header http.Header) net.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(e.URL, "http"), &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	conn := websocket.NetConn(t.Context(), c, websocket.MessageBinary)
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(deadline()); err != nil {
		t.Fatal(err)
	}
	return conn
}

// talk sends bytes and checks the response.
func talk(t *testing.T, c net.Conn, send, want []byte) {
	t.Helper()
	if _, err := c.Write(send); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("received %q, %v, want %q", got[:n], err, want)
	}
}
