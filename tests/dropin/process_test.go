//go:build dropin

package dropin_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

const (
	endsWhenDrained = "ours ends as soon as it is drained"
	errorsHaveCode1 = "an error ends with 1, as service managers that restart on failure expect"
)

// registered is the number of connections that /ready shows, and its status; 0 while nothing listens.
func (c *connector) registered() (status, n int) {
	resp, err := http.Get("http://" + c.metrics + "/ready")
	if err != nil {
		return 0, 0
	}
	defer resp.Body.Close()
	var body struct{ ReadyConnections int }
	if json.NewDecoder(resp.Body).Decode(&body) != nil {
		return resp.StatusCode, 0
	}
	return resp.StatusCode, body.ReadyConnections
}

// awaitReady waits until /ready has the status and the number of connections.
func (c *connector) awaitReady(t *testing.T, status, n int) {
	t.Helper()
	testkit.Retry(t, fmt.Sprintf("/ready with status %d", status), patience, func() error {
		if gotStatus, gotN := c.registered(); gotStatus != status || gotN != n {
			return fmt.Errorf("/ready: %d, %d connections", gotStatus, gotN)
		}
		return nil
	})
}

// TestReconnectOnStandardInput: the connection that takes the command breaks and comes back after the delay; /ready tells meanwhile.
func TestReconnectOnStandardInput(t *testing.T) {
	e := harness.StartEdge(t)
	for _, protocol := range []string{"quic", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			each(t, func(t *testing.T, s subject) {
				input, commands, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					_ = input.Close()
					_ = commands.Close()
				})
				c := s.startWithInput(t, input, e, "--protocol", protocol, "--ha-connections", "1", "--stdin-control", "--grace-period", "1s")
				c.awaitReady(t, http.StatusOK, 1)
				for range 3 {
					if _, err := fmt.Fprint(commands, "help\n\nreconnect 2s\n"); err != nil {
						t.Fatal(err)
					}
					c.awaitReady(t, http.StatusServiceUnavailable, 0)
					c.awaitReady(t, http.StatusOK, 1)
				}
				if code := c.Stop(t, syscall.SIGTERM); code != 0 {
					t.Errorf("exit code %d, want 0", code)
				}
			})
		})
	}
}

// TestServiceManager: systemd learns of the first connection, and from ours also of reloads, of the end, and that the process lives.
func TestServiceManager(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		socket := filepath.Join(shortDir(t), "notify")
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		next := func() string {
			t.Helper()
			buf := make([]byte, 1024)
			for {
				_ = conn.SetReadDeadline(time.Now().Add(patience)) // never fails on a socket that is open
				n, err := conn.Read(buf)
				if err != nil {
					t.Fatalf("message to the service manager: %v", err)
				}
				if m := string(buf[:n]); m != "WATCHDOG=1" {
					return m
				}
			}
		}
		t.Setenv("NOTIFY_SOCKET", socket)
		t.Setenv("WATCHDOG_USEC", "2000000")
		pidFile := filepath.Join(t.TempDir(), "pid")
		c := s.start(t, e, "--grace-period", "1s", "--pidfile", pidFile)
		if m := next(); m != "READY=1" {
			t.Errorf("message %q, want READY=1", m)
		}
		testkit.Retry(t, "pid file", patience, func() error {
			b, err := os.ReadFile(pidFile)
			if err == nil && string(b) != strconv.Itoa(c.Cmd.Process.Pid) {
				err = fmt.Errorf("pid file %q", b)
			}
			return err
		})
		if s.stock { // it knows no other message, and SIGHUP ends it
			return
		}
		if err := c.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if m := next(); !strings.HasPrefix(m, "RELOADING=1\nMONOTONIC_USEC=") {
			t.Errorf("message %q, want RELOADING=1", m)
		}
		if m := next(); m != "READY=1" {
			t.Errorf("message %q after the reload, want READY=1", m)
		}
		if err := c.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if m := next(); m != "STOPPING=1\nEXTEND_TIMEOUT_USEC=11000000" {
			t.Errorf("message %q, want STOPPING=1", m)
		}
		if code := c.ExitCode(t); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	})
}

// shortDir is a directory whose path fits into the address of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dropin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// exits are the rows of the table of exit codes in the specification: a name, and how to run it.
func exits() map[string]func(t *testing.T, s subject) int {
	all := map[string]func(t *testing.T, s subject) int{
		"SIGTERM, no edge":                              func(t *testing.T, s subject) int { return endWithoutEdge(t, s, syscall.SIGTERM, false) },
		"SIGINT, no edge":                               func(t *testing.T, s subject) int { return endWithoutEdge(t, s, syscall.SIGINT, false) },
		"SIGTERM, edge silent":                          func(t *testing.T, s subject) int { return endWithoutEdge(t, s, syscall.SIGTERM, true) },
		"SIGTERM, connected over quic":                  func(t *testing.T, s subject) int { return endConnected(t, s, syscall.SIGTERM, "quic") },
		"SIGINT, connected over quic":                   func(t *testing.T, s subject) int { return endConnected(t, s, syscall.SIGINT, "quic") },
		"SIGTERM, connected over http2":                 func(t *testing.T, s subject) int { return endConnected(t, s, syscall.SIGTERM, "http2") },
		"SIGTERM, request in flight over quic":          func(t *testing.T, s subject) int { return endInFlight(t, s, "quic") },
		"SIGTERM, request in flight over http2":         func(t *testing.T, s subject) int { return endInFlight(t, s, "http2") },
		"SIGTERM, request longer than the grace period": endAfterGrace,
		"second SIGTERM, request in flight":             func(t *testing.T, s subject) int { return endTwice(t, s, syscall.SIGTERM) },
		"second SIGINT, request in flight":              func(t *testing.T, s subject) int { return endTwice(t, s, syscall.SIGINT) },
		"metrics port taken":                            endPortTaken,
	}
	token := credential.Token(tunnel.Credentials{AccountTag: "a", Secret: tunnel.Secret(strings.Repeat("s", 32)), TunnelID: tunnel.ID{15: 1}})
	for name, args := range map[string][]string{
		"unknown flag":                   {"tunnel", "--bogus", "run"},
		"flag with a wrong value":        {"tunnel", "--retries", "x", "run"},
		"unknown command":                {"tunnel", "bogus"},
		"tunnel without anything to run": {"tunnel"},
		"grace period too long":          {"tunnel", "--grace-period", "4m", "run", "--token", token},
		"wrong edge IP version":          {"tunnel", "--edge-ip-version", "5", "run", "--token", token},
		"unknown protocol":               {"tunnel", "--protocol", "bogus", "run", "--token", token},
		"wrong tag":                      {"tunnel", "--tag", "bogus", "run", "--token", token},
		"missing configuration file":     {"tunnel", "--config", "/no/such/config.yml", "run", "--token", token},
		"invalid token":                  {"tunnel", "run", "--token", "hunter2"},
		"no tunnel named":                {"tunnel", "run"},
		"two tunnels named":              {"tunnel", "run", "a", "b"},
		"tunnel ready, nothing listens":  {"tunnel", "--metrics", "127.0.0.1:1", "ready"},
	} {
		all[name] = func(t *testing.T, s subject) int { return s.run(t, nil, args...).ExitCode(t) }
	}
	return all
}

// TestExits walks the table of exit codes in the specification with both programs.
func TestExits(t *testing.T) {
	run := exits()
	rows := tableAfter(t, "../../docs/spec/lifecycle.md", "<!-- exits -->")
	if len(rows) != len(run) {
		t.Errorf("%d rows in the specification, %d in this test", len(rows), len(run))
	}
	for _, row := range rows {
		name := row[0]
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s subject) {
				f, ok := run[name]
				if !ok {
					t.Fatal("the table has a case that this test does not know")
				}
				want := row[1]
				if row[1] != row[2] {
					want = either(t, s, row[1], row[2], errorsHaveCode1)
				}
				if got := strconv.Itoa(f(t, s)); got != want {
					t.Errorf("exit code %s, want %s", got, want)
				}
			})
		})
	}
}

// tableAfter gives the cells of the rows of the first table after the marker in a document.
func tableAfter(t *testing.T, file, marker string) [][]string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(b), marker)
	if !found {
		t.Fatalf("%s has no %s", file, marker)
	}
	var rows [][]string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if len(rows) > 0 {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i, c := range cells {
			cells[i] = strings.TrimSpace(c)
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("%s has no table after %s", file, marker)
	}
	return rows[2:] // without the head
}

// signal sends a signal to a program that runs.
func signal(t *testing.T, c *connector, sig syscall.Signal) {
	t.Helper()
	if err := c.Cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// endWithoutEdge ends a connector that never connects: nothing listens on the addresses of the edge, or what listens says nothing.
func endWithoutEdge(t *testing.T, s subject, sig syscall.Signal, silent bool) int {
	e := &harness.Edge{Data: t.TempDir(), Token: credential.Token(tunnel.Credentials{
		AccountTag: "a", Secret: tunnel.Secret(strings.Repeat("s", 32)), TunnelID: tunnel.ID{15: 1},
	})}
	if err := os.WriteFile(filepath.Join(e.Data, "ca.pem"), testkit.NewCA(t).PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if silent {
			e.Ports = append(e.Ports, testkit.ListenUDP(t).LocalAddr().(*net.UDPAddr).Port)
			continue
		}
		e.Ports = append(e.Ports, harness.FreePort(t))
	}
	c := s.start(t, e, "--protocol", "quic", "--no-prechecks")
	c.awaitReady(t, http.StatusServiceUnavailable, 0)
	signal(t, c, sig)
	return c.ExitCode(t)
}

// endConnected ends a connector without requests. The grace period of ours is longer than the test waits.
func endConnected(t *testing.T, s subject, sig syscall.Signal, protocol string) int {
	grace := either(t, s, "3m", "2s", endsWhenDrained)
	c := s.connect(t, harness.StartEdge(t), "--protocol", protocol, "--grace-period", grace)
	signal(t, c, sig)
	return c.ExitCode(t)
}

// slowOrigin is an origin whose responses end when it is told so.
type slowOrigin struct {
	*httptest.Server
	finish chan struct{}
	began  chan struct{}
}

func newSlowOrigin(t *testing.T) *slowOrigin {
	o := &slowOrigin{finish: make(chan struct{}), began: make(chan struct{}, 1)}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin ")
		_ = http.NewResponseController(w).Flush()
		o.began <- struct{}{}
		select {
		case <-o.finish:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "end")
	}))
	t.Cleanup(o.Close)
	return o
}

// visit requests the slow origin through the tunnel, and gives the body when the response has ended.
func (o *slowOrigin) visit(t *testing.T, e *harness.Edge) <-chan string {
	t.Helper()
	body := make(chan string, 1)
	go func() {
		resp, err := http.Get(e.URL)
		if err != nil {
			body <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			b = append(b, err.Error()...)
		}
		body <- string(b)
	}()
	testkit.Receive(t, "the request at the origin", o.began)
	return body
}

// endInFlight ends a connector while a request is in flight, which must finish.
func endInFlight(t *testing.T, s subject, protocol string) int {
	e, o := harness.StartEdge(t), newSlowOrigin(t)
	grace := either(t, s, "3m", "5s", endsWhenDrained)
	c := s.connect(t, e, "--protocol", protocol, "--grace-period", grace, "--url", o.URL)
	body := o.visit(t, e)
	signal(t, c, syscall.SIGTERM)
	c.awaitReady(t, http.StatusServiceUnavailable, 0)
	close(o.finish)
	if got := testkit.Receive(t, "the response", body); got != "begin end" {
		t.Errorf("response %q, want all of it", got)
	}
	return c.ExitCode(t)
}

// endAfterGrace ends a connector while a request is in flight that does not end.
func endAfterGrace(t *testing.T, s subject) int {
	e, o := harness.StartEdge(t), newSlowOrigin(t)
	c := s.connect(t, e, "--protocol", "quic", "--grace-period", "1s", "--url", o.URL)
	body := o.visit(t, e)
	signal(t, c, syscall.SIGTERM)
	code := c.ExitCode(t)
	if got := testkit.Receive(t, "the response", body); strings.HasSuffix(got, "begin end") {
		t.Errorf("response %q, want a part of it", got)
	}
	return code
}

// endTwice sends the same signal until the connector ends: a second one does not wait for the request.
func endTwice(t *testing.T, s subject, sig syscall.Signal) int {
	e, o := harness.StartEdge(t), newSlowOrigin(t)
	c := s.connect(t, e, "--grace-period", "3m", "--url", o.URL)
	o.visit(t, e)
	signal(t, c, sig)
	c.awaitReady(t, http.StatusServiceUnavailable, 0)
	testkit.Retry(t, "the end", patience, func() error {
		select {
		case <-c.Exited:
			return nil
		default:
			_ = c.Cmd.Process.Signal(sig) // the process may have ended
			return fmt.Errorf("it runs")
		}
	})
	return c.ExitCode(t)
}

// endPortTaken starts a connector whose metrics port is in use.
func endPortTaken(t *testing.T, s subject) int {
	taken := testkit.ListenTCP(t)
	return s.run(t, nil, "tunnel", "--metrics", taken.Addr().String(), "--edge", fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)),
		"--hello-world", "run", "--token", credential.Token(tunnel.Credentials{
			AccountTag: "a", Secret: tunnel.Secret(strings.Repeat("s", 32)), TunnelID: tunnel.ID{15: 1},
		})).ExitCode(t)
}
