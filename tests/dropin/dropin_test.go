//go:build dropin

package dropin_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// patience bounds every wait for a condition.
const patience = testkit.Patience

// connections is how many connections a connector has by default.
const connections = 4

// subject is a connector program that the tests run.
type subject struct {
	name, path string
	// stock says that it is the program of the vendor.
	stock bool
}

// difference is an expectation that is not the same for ours and stock.
type difference struct{ test, ours, stock, why string }

var (
	differencesMu sync.Mutex // guards differences
	differences   []difference
)

func TestMain(m *testing.M) {
	code := m.Run()
	printDifferences(os.Stdout)
	os.Exit(code)
}

func printDifferences(w io.Writer) {
	differencesMu.Lock()
	defer differencesMu.Unlock()
	slices.SortFunc(differences, func(a, b difference) int { return cmp.Compare(a.test+a.ours, b.test+b.ours) })
	fmt.Fprintf(w, "\nWhere culvert differs from cloudflared, and why:\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range slices.Compact(differences) {
		fmt.Fprintf(t, "  %s\t%s\tinstead of %s\t%s\n", d.test, d.ours, d.stock, d.why)
	}
	_ = t.Flush() // the test has ended
}

// each runs f with our connector, and with the stock one when its path is known.
func each(t *testing.T, f func(t *testing.T, s subject)) {
	t.Helper()
	t.Run("culvert", func(t *testing.T) { f(t, subject{name: "culvert", path: harness.Binary(t, "culvert")}) })
	t.Run("cloudflared", func(t *testing.T) {
		path := os.Getenv(harness.PeerVariable)
		if path == "" {
			t.Skipf("%s is not set to the path of a cloudflared binary", harness.PeerVariable)
		}
		f(t, subject{name: "cloudflared", path: path, stock: true})
	})
}

// either returns what is expected of s where ours differs from stock. Why is the reason for which a user would thank us.
func either[T any](t *testing.T, s subject, ours, stock T, why string) T {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	differencesMu.Lock()
	defer differencesMu.Unlock()
	differences = append(differences, difference{name, fmt.Sprint(ours), fmt.Sprint(stock), why})
	if s.stock {
		return stock
	}
	return ours
}

// connector is a subject that runs a tunnel.
type connector struct {
	*harness.Program
	// metrics is the address of its metrics listener.
	metrics string
}

// run starts the program with a home directory of its own, so that no file of this machine has an effect.
func (s subject) run(t *testing.T, env []string, args ...string) *harness.Program {
	t.Helper()
	return s.runWithInput(t, nil, env, args...)
}

// runWithInput is run with a standard input.
func (s subject) runWithInput(t *testing.T, input *os.File, env []string, args ...string) *harness.Program {
	t.Helper()
	return harness.StartWithInput(t, input, append([]string{"HOME=" + t.TempDir()}, env...), s.path, args...)
}

// start starts `tunnel <flags> run` with a token against e, and does not wait for a connection.
func (s subject) start(t *testing.T, e *harness.Edge, flags ...string) *connector {
	t.Helper()
	return s.startWithInput(t, nil, e, flags...)
}

// startWithInput is start with a standard input.
func (s subject) startWithInput(t *testing.T, input *os.File, e *harness.Edge, flags ...string) *connector {
	t.Helper()
	metrics := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	args := []string{"tunnel", "--no-autoupdate", "--cacert", filepath.Join(e.Data, "ca.pem"), "--metrics", metrics}
	for _, p := range e.Ports {
		args = append(args, "--edge", fmt.Sprintf("127.0.0.1:%d", p))
	}
	if !slices.Contains(flags, "--url") {
		args = append(args, "--hello-world")
	}
	args = append(append(args, flags...), "run")
	return &connector{Program: s.runWithInput(t, input, []string{"TUNNEL_TOKEN=" + e.Token}, args...), metrics: metrics}
}

// connect is start, and waits until both ends know of all connections.
func (s subject) connect(t *testing.T, e *harness.Edge, flags ...string) *connector {
	t.Helper()
	c := s.start(t, e, flags...)
	testkit.Retry(t, "connections", patience, func() error {
		if n := e.Connections(t); n != connections {
			return fmt.Errorf("%d connections\n%s", n, harness.Tail(c.Out.String(), 2000))
		}
		return nil
	})
	// The edge knows of a connection before the connector has read that it is registered.
	c.awaitReady(t, http.StatusOK, connections)
	return c
}

// get returns the status and body of a path of the metrics listener.
func (c *connector) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	resp := c.response(t, path)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return resp.StatusCode, string(b)
}

// response is the response of a path of the metrics listener.
func (c *connector) response(t *testing.T, path string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.metrics+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}
