package command_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/edge"
)

const patience = 30 * time.Second

// program is a command line that runs until it is stopped.
type program struct {
	cancel context.CancelFunc
	done   chan struct{}
	code   int
	lines  chan string // of stdout

	mu     sync.Mutex
	stderr bytes.Buffer // guarded by mu
}

// Write takes standard error.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.Write(b)
}

func (p *program) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// linesWith are the lines of standard error that contain text.
func (p *program) linesWith(text string) []string {
	var out []string
	for _, line := range strings.Split(p.log(), "\n") {
		if strings.Contains(line, text) {
			out = append(out, line)
		}
	}
	return out
}

func start(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	return startWithInput(t, nil, env, args...)
}

// stop ends the program and gives its exit code.
func (p *program) stop(t *testing.T) int {
	t.Helper()
	p.cancel()
	select {
	case <-p.done:
	case <-time.After(patience): // one wait, not a loop
		t.Fatalf("the program does not stop; stderr:\n%s", p.log())
	}
	return p.code
}

// line waits for a line of stdout with prefix and gives the rest of it.
func (p *program) line(t *testing.T, prefix string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case text, ok := <-p.lines:
			if rest, found := strings.CutPrefix(text, prefix); found {
				return strings.TrimSpace(rest)
			}
			if !ok {
				t.Fatalf("the program ended with %d before it said %q; stderr:\n%s", p.code, prefix, p.log())
			}
		case <-timeout:
			t.Fatalf("the program does not say %q; stderr:\n%s", prefix, p.log())
		}
	}
}

func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

func fetch(t *testing.T, c *http.Client, url, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

func TestUpServesTheDemoPage(t *testing.T) {
	p := start(t, nil, "up", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	url := p.line(t, "Public URL:")
	private := strings.TrimSuffix(p.line(t, "Private:"), "/readyz")
	c := client(t)
	status, body := fetch(t, c, url, "")
	if status != http.StatusOK || !strings.Contains(strings.ToLower(body), "<html") {
		t.Errorf("GET = %d %s", status, body)
	}
	testkit.Eventually(t, "four connections", func() bool {
		status, body := fetch(t, c, private+"/ready", "")
		return status == http.StatusOK && strings.Contains(body, `"readyConnections":4`)
	})
	for path, want := range map[string]string{
		"/readyz": `"status":"ready"`, "/healthcheck": "OK\n", "/config": `"version":-1`,
		"/metrics": "culvert_build_info", "/quicktunnel": `"hostname"`,
	} {
		if status, body := fetch(t, c, private+path, ""); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s = %d %s", path, status, body)
		}
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d, stderr %s", code, p.log())
	}
}

// TestHangupDoesNotEndUp sends SIGHUP to a running system, which must read its files again and go on.
func TestHangupDoesNotEndUp(t *testing.T) {
	// The test's own handler keeps the test process alive when the program does not handle the signal.
	guard := make(chan os.Signal, 1)
	signal.Notify(guard, syscall.SIGHUP)
	defer signal.Stop(guard)
	p := start(t, nil, "up", "--loglevel", "info", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	url := p.line(t, "Public URL:")
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "reload", func() bool { return len(p.linesWith("reload requested")) == 1 })
	if status, _ := fetch(t, client(t), url, ""); status != http.StatusOK {
		t.Errorf("GET after SIGHUP = %d", status)
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d, stderr %s", code, p.log())
	}
}

// TestUpFinishesWhatIsInFlight stops the system in the middle of a slow response, which must arrive whole.
func TestUpFinishesWhatIsInFlight(t *testing.T) {
	const chunk, chunks = 64 << 10, 32
	begun, goOn := make(chan struct{}), make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			return
		}
		for i := range chunks {
			_, _ = w.Write(bytes.Repeat([]byte{byte(i)}, chunk))
			if i == 0 {
				_ = http.NewResponseController(w).Flush()
				close(begun)
				<-goOn
			}
		}
	}))
	defer origin.Close()
	p := start(t, nil, "up", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--url", origin.URL)
	url := p.line(t, "Public URL:")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/slow", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-begun
	p.cancel()
	p.line(t, "Stopping:")
	close(goOn)
	h := sha256.New()
	n, err := io.Copy(h, resp.Body)
	if err != nil || n != chunk*chunks {
		t.Errorf("got %d bytes and %v, want %d; stderr:\n%s", n, err, chunk*chunks, p.log())
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d, stderr %s", code, p.log())
	}
}

func TestUpWithRulesAndUnreachableOrigin(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, "from "+r.Host) }))
	defer origin.Close()
	path := filepath.Join(t.TempDir(), "config.yml")
	rules := "ingress:\n- hostname: a.example.com\n  service: " + origin.URL + "\n- hostname: dead.example.com\n  service: " +
		"http://127.0.0.1:1\n- service: http_status:404\n  bogus: 1\n"
	if err := os.WriteFile(path, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, "up", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--config", path)
	url, c := p.line(t, "Public URL:"), client(t)
	if !strings.Contains(p.log(), "Warning: "+path+": line 7, column 3: field bogus not found in ingress rule") {
		t.Errorf("no warning about the unknown field:\n%s", p.log())
	}
	if status, body := fetch(t, c, url, "a.example.com"); status != http.StatusOK || body != "from a.example.com" {
		t.Errorf("a.example.com = %d %s", status, body)
	}
	if status, _ := fetch(t, c, url, "b.example.com"); status != http.StatusNotFound {
		t.Errorf("b.example.com = %d", status)
	}
	if status, _ := fetch(t, c, url, "dead.example.com"); status != http.StatusBadGateway {
		t.Errorf("dead.example.com = %d", status)
	}
	// The line may follow the response.
	testkit.Eventually(t, "a line about the unreachable origin", func() bool { return len(p.linesWith("origin=http://127.0.0.1:1 ")) > 0 })
	if lines := p.linesWith("origin=http://127.0.0.1:1 "); len(lines) != 1 || !strings.Contains(lines[0], "connection refused") {
		t.Errorf("want one line about the unreachable origin, with its address:\n%s", p.log())
	}
}

// farEdge is an edge in this process that the connector reaches by its addresses only.
type farEdge struct {
	*edge.Service
	token string
}

func startEdge(t *testing.T) farEdge {
	t.Helper()
	cfg := edge.Default()
	cfg.DataDir = t.TempDir()
	cfg.Public.HTTP = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Connectors.Listen = nil
	for range 6 {
		cfg.Connectors.Listen = append(cfg.Connectors.Listen, netip.MustParseAddrPort("127.0.0.1:0"))
	}
	cfg.Bootstrap.Tunnel, cfg.Bootstrap.Routes = "web", []string{"*"}
	e, err := edge.New(cfg, edge.Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("edge: %v", err)
		}
	})
	c, ok := e.BootstrapCredentials()
	if !ok {
		t.Fatal("no bootstrap tunnel")
	}
	return farEdge{e, credential.Token(c)}
}

func (e farEdge) flags() []string {
	flags := []string{"tunnel", "--cacert", e.CACertPath(), "--no-autoupdate"}
	for _, a := range e.ConnectorAddrs() {
		flags = append(flags, "--edge", a.String())
	}
	return flags
}

func TestTunnelRun(t *testing.T) {
	e, metrics, dir := startEdge(t), testkit.FreeTCP(t).String(), t.TempDir()
	pidfile, logfile := filepath.Join(dir, "pid"), filepath.Join(dir, "log")
	p := start(t, []string{"TUNNEL_TOKEN=" + e.token, "TUNNEL_METRICS=" + metrics},
		append(e.flags(), "--pidfile", pidfile, "--logfile", logfile, "--output", "json", "run", "--hello-world", "--grace-period", "5s")...)
	c := client(t)
	var ready struct {
		Status           int
		ReadyConnections int
		ConnectorID      string
	}
	testkit.Eventually(t, "four connections", func() bool {
		_, body := fetch(t, c, "http://"+metrics+"/ready", "")
		return json.Unmarshal([]byte(body), &ready) == nil && ready.ReadyConnections == 4
	})
	if ready.Status != 200 || len(ready.ConnectorID) != 36 {
		t.Errorf("/ready = %+v", ready)
	}
	if status, body := fetch(t, c, e.PublicURL(), "anything.example.com"); status != http.StatusOK || body == "" {
		t.Errorf("GET = %d %s", status, body)
	}
	testkit.Eventually(t, "pid file", func() bool {
		b, err := os.ReadFile(pidfile)
		return err == nil && string(b) == fmt.Sprint(os.Getpid())
	})
	var state struct {
		TunnelID, ConnectorID string
		Connections           []struct{ EdgeAddress string }
		Sources               []string `json:"icmp_sources"`
	}
	_, body := fetch(t, c, "http://"+metrics+"/diag/tunnel", "")
	if err := json.Unmarshal([]byte(body), &state); err != nil || state.ConnectorID != ready.ConnectorID || len(state.TunnelID) != 36 ||
		len(state.Connections) != 4 || state.Connections[0].EdgeAddress != "127.0.0.1" || len(state.Sources) != 2 {
		t.Errorf("/diag/tunnel = %s, %v", body, err)
	}
	if code, _, stderr := run(t, nil, "tunnel", "--metrics", metrics, "ready"); code != 0 {
		t.Errorf("tunnel ready = %d %s", code, stderr)
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	log, err := os.ReadFile(logfile)
	if err != nil || bytes.Count(log, []byte("\n")) != strings.Count(p.log(), "\n") {
		t.Errorf("log file %v:\n%s", err, log)
	}
	for line := range bytes.Lines(log) {
		if !json.Valid(line) || !bytes.HasPrefix(line, []byte(`{"level":"`)) {
			t.Errorf("line of the log file: %s", line)
		}
	}
	if strings.Contains(p.log(), e.token) {
		t.Error("the token is in the log")
	}
	for _, line := range strings.Split(p.log(), "\n") {
		bad := strings.Contains(line, `"level":"error"`) || strings.Contains(line, `"level":"warn"`)
		ping := strings.Contains(line, "ICMP proxy feature is disabled") || strings.Contains(line, "ping_group_range")
		if bad && !ping { // whether ping is allowed depends on this host
			t.Errorf("an orderly run logs a warning or an error: %s", line)
		}
	}
}

// TestTunnelRunWithoutItsFiles: files that cannot be written are a warning, and the tunnel is served.
func TestTunnelRunWithoutItsFiles(t *testing.T) {
	e := startEdge(t)
	const nowhere = "/dev/null/directory/"
	p := start(t, []string{"TUNNEL_TOKEN=" + e.token},
		append(e.flags(), "--pidfile", nowhere+"pid", "--logfile", nowhere+"log", "--trace-output", nowhere+"trace", "run", "--hello-world",
			"--grace-period", "5s")...)
	c := client(t)
	testkit.Eventually(t, "the tunnel is served", func() bool {
		status, _ := fetch(t, c, e.PublicURL(), "anything.example.com")
		return status == http.StatusOK
	})
	testkit.Eventually(t, "a line about the pid file", func() bool { return len(p.linesWith("Unable to write pid")) == 1 })
	if lines := p.linesWith("log file cannot be written"); len(lines) != 1 || !strings.Contains(lines[0], " WRN ") {
		t.Errorf("lines about the log file: %q", lines)
	}
	lines := p.linesWith("Failed to create new temporary file to save trace output")
	if len(lines) != 1 || !strings.Contains(lines[0], " ERR ") {
		t.Errorf("lines about the trace: %q, want one error", lines)
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// TestTunnelRunWritesATrace: the file is a trace that is complete once the program has ended.
func TestTunnelRunWritesATrace(t *testing.T) {
	e := startEdge(t)
	path := filepath.Join(t.TempDir(), "trace")
	p := start(t, []string{"TUNNEL_TOKEN=" + e.token}, append(e.flags(), "--metrics", "127.0.0.1:0", "--trace-output", path, "run",
		"--hello-world")...)
	testkit.Eventually(t, "the first connection", func() bool { return len(p.linesWith("Registered tunnel connection")) > 0 })
	if code := p.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(b, []byte("go 1.")) {
		t.Errorf("trace file begins with %.10q, %v; want the head of an execution trace", b, err)
	}
}

func TestTunnelRunWrongSecret(t *testing.T) {
	e := startEdge(t)
	c, _ := e.BootstrapCredentials()
	c.Secret = bytes.Repeat([]byte("x"), 32)
	metrics := testkit.FreeTCP(t).String()
	p := start(t, []string{"TUNNEL_TOKEN=" + credential.Token(c), "TUNNEL_METRICS=" + metrics}, append(e.flags(), "run", "--hello-world")...)
	testkit.Eventually(t, "the refusal in the log", func() bool {
		log := strings.ToLower(p.log())
		return strings.Contains(log, "unauthorized") || strings.Contains(log, "refused")
	})
	if status, _ := fetch(t, client(t), "http://"+metrics+"/ready", ""); status != http.StatusServiceUnavailable {
		t.Errorf("/ready = %d", status)
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// TestTunnelRunReadsItsTokenAgain replaces the token file of a running connector, at first by one that cannot be used.
func TestTunnelRunReadsItsTokenAgain(t *testing.T) {
	e := startEdge(t)
	token := filepath.Join(t.TempDir(), "token")
	writeFile(t, token, e.token)
	p := start(t, nil, append(e.flags(), "--metrics", "127.0.0.1:0", "--token-file", token, "run", "--hello-world")...)
	testkit.Eventually(t, "the first connection", func() bool { return len(p.linesWith("Registered tunnel connection")) > 0 })
	guard := make(chan os.Signal, 1) // keeps the test process alive if the program does not handle the signal
	signal.Notify(guard, syscall.SIGHUP)
	defer signal.Stop(guard)
	replace := func(text, line string) {
		t.Helper()
		writeFile(t, token, text)
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatalf("send SIGHUP: %v", err)
		}
		testkit.Eventually(t, line, func() bool { return len(p.linesWith(line)) == 1 })
		if lines := p.linesWith(line); !strings.Contains(lines[0], token) {
			t.Errorf("line about the file: %q, want its path", lines[0])
		}
	}
	replace("broken", "changed file not used")
	c, _ := e.BootstrapCredentials()
	c.Secret = bytes.Repeat([]byte("x"), 32)
	replace(credential.Token(c), "file read again")
	if code := p.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestTunnelRunWithoutASecret: credentials without a secret are a warning at the start; the edge decides about them.
func TestTunnelRunWithoutASecret(t *testing.T) {
	e := startEdge(t)
	c, _ := e.BootstrapCredentials()
	c.Secret = nil
	p := start(t, []string{"TUNNEL_TOKEN=" + credential.Token(c)}, append(e.flags(), "run", "--hello-world")...)
	testkit.Eventually(t, "the refusal in the log", func() bool { return strings.Contains(strings.ToLower(p.log()), "unauthorized") })
	if lines := p.linesWith("credentials have no TunnelSecret"); len(lines) != 1 || !strings.Contains(lines[0], " WRN ") {
		t.Errorf("want one warning about the missing secret:\n%s", p.log())
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestTunnelRunWithUnreachableRedis(t *testing.T) {
	e, metrics := startEdge(t), testkit.FreeTCP(t).String()
	p := start(t, []string{"TUNNEL_TOKEN=" + e.token, "TUNNEL_METRICS=" + metrics}, append(e.flags(), "--redis", "redis://127.0.0.1:1", "run",
		"--hello-world")...)
	testkit.Eventually(t, "every part logs that the store is unavailable", func() bool {
		return len(p.linesWith("control plane is "+
			"unavailable")) >= 3
	})
	c := client(t)
	testkit.Eventually(t, "not ready", func() bool {
		status, _ := fetch(t, c, "http://"+metrics+"/readyz", "")
		return status == http.StatusServiceUnavailable
	})
	for part, what := range map[string]string{
		"discovery": "nothing is published", "supervisor": "nothing is granted", "conn-worker": "connections stay",
	} {
		if n := len(p.linesWith("control plane is unavailable, " + what)); n != 1 {
			t.Errorf("%s logs %d times that the store is unavailable:\n%s", part, n, p.log())
		}
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit %d, stderr:\n%s", code, p.log())
	}
}
