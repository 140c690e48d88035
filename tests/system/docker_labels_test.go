//go:build system

package system_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

const dockerSocket = "/var/run/docker.sock"

// cutSocket is a Unix socket before that of the engine whose connections can be cut.
type cutSocket struct {
	path string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newCutSocket(t *testing.T) *cutSocket {
	t.Helper()
	s := &cutSocket{path: filepath.Join(t.TempDir(), "docker.sock")}
	l, err := net.Listen("unix", s.path)
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
			go s.carry(c)
		}
	}()
	return s
}

func (s *cutSocket) carry(c net.Conn) {
	engine, err := net.Dial("unix", dockerSocket)
	s.mu.Lock()
	refuse := s.cut || err != nil
	if !refuse {
		s.conns = append(s.conns, c, engine)
	}
	s.mu.Unlock()
	if refuse {
		_ = c.Close()
		return
	}
	go func() { _, _ = io.Copy(engine, c); _ = engine.Close() }()
	_, _ = io.Copy(c, engine)
	_ = c.Close()
}

// set cuts every connection, or lets new ones pass again.
func (s *cutSocket) set(cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = cut
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// labelled is a system whose rules come from containers.
type labelled struct {
	t      *testing.T
	image  string
	listen string
	engine *cutSocket
	log    *harness.Output
}

func startLabelled(t *testing.T, config string, args ...string) *labelled {
	t.Helper()
	if err := exec.Command(harness.Installed(t, "docker"), "info").Run(); err != nil {
		t.Skipf("no Docker Engine: %v", err)
	}
	if _, err := os.Stat(dockerSocket); err != nil {
		t.Skipf("no socket of a Docker Engine: %v", err)
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "labelled"), "./testdata/labelled")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	text := "FROM scratch\nCOPY labelled /labelled\nEXPOSE 80\nENTRYPOINT [\"/labelled\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &labelled{t: t, image: "culvert/labelled:test", engine: newCutSocket(t), listen: fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))}
	docker(t, "build", "-q", "-t", s.image, dir)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := harness.Start(t, nil, harness.Binary(t, "culvert"), append([]string{
		"up", "--docker-endpoint", "unix://" + s.engine.path, "--listen", s.listen, "--data-dir", filepath.Join(dir, "edge"), "--config", file,
		"--loglevel", "info", "--metrics", "127.0.0.1:0",
	}, args...)...)
	s.log = p.Out
	s.until("the catch-all", func() error { return s.wants("nobody.example.com", "/", http.StatusNotFound) })
	return s
}

// run starts a container with labels, and gives its name.
func (s *labelled) run(name string, labels ...string) string {
	s.t.Helper()
	args := []string{"run", "-d", "--rm", "--name", "culvert-test-" + name, "--hostname", name}
	for i := 0; i < len(labels); i += 2 {
		args = append(args, "--label", labels[i]+"="+labels[i+1])
	}
	id := docker(s.t, append(args, s.image)...)
	s.t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() }) //nolint:gosec // an id of the engine
	return id
}

// until waits for a condition, and says how long it took.
func (s *labelled) until(what string, condition func() error) {
	s.t.Helper()
	began := time.Now()
	testkit.Retry(s.t, what, patience, condition)
	s.t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
}

func (s *labelled) get(host, path string) (status int, body string, err error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.listen+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	req.Host = host
	client := http.Client{Timeout: 2 * time.Second} // a container that has just gone leaves its packets without an answer
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

func (s *labelled) wants(host, path string, want int) error {
	status, body, err := s.get(host, path)
	if err == nil && status != want {
		err = fmt.Errorf("%s%s: status %d %q, want %d", host, path, status, body, want)
	}
	return err
}

func (s *labelled) names(host, want string) error {
	status, body, err := s.get(host, "/")
	if err == nil && (status != http.StatusOK || !strings.HasPrefix(body, want+" ")) {
		err = fmt.Errorf("%s: status %d, %q, want the name %s", host, status, body, want)
	}
	return err
}

const labelledRules = `ingress:
  - {hostname: file.example.com, service: "http_status:204"}
  - {service: "http_status:404"}
`

// TestRulesFollowContainers starts and stops containers of a real engine beside a running system.
func TestRulesFollowContainers(t *testing.T) {
	s := startLabelled(t, labelledRules)
	one := s.run("one", "culvert.hostname", "a.example.com")
	s.until("rule of the first container", func() error { return s.names("a.example.com", "one") })

	// Bad labels, a rule that the file has, several rules of one container.
	s.run("bad", "culvert.hostname", "bad.example.com", "culvert.port", "x")
	s.run("greedy", "culvert.hostname", "file.example.com", "culvert.routers.x.hostname", "x.example.com", "culvert.routers.x.path", "^/only",
		"culvert.routers.status.hostname", "gone.example.com", "culvert.routers.status.service", "http_status:410")
	s.until("rules of a container with several", func() error { return s.wants("gone.example.com", "/", http.StatusGone) })
	for _, err := range []error{
		s.wants("x.example.com", "/only", http.StatusOK), s.wants("x.example.com", "/", http.StatusNotFound),
		s.wants("file.example.com", "/", http.StatusNoContent), s.wants("bad.example.com", "/", http.StatusNotFound),
		s.names("a.example.com", "one"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	for _, text := range []string{"culvert.port", "culvert-test-bad", "culvert-test-greedy"} {
		if !strings.Contains(s.log.String(), text) {
			t.Errorf("the log does not name %s:\n%s", text, s.log.String())
		}
	}

	// A second container of the same rule, and the end of the first.
	s.run("two", "culvert.hostname", "a.example.com")
	s.until("requests at the second container", func() error { return s.names("a.example.com", "two") })
	docker(t, "stop", "-t", "1", one)
	// A request that meets the container while it ends may wait for an address that nobody has any more.
	s.until("all requests at the second container", func() error {
		for range 50 {
			if err := s.names("a.example.com", "two"); err != nil {
				return err
			}
		}
		return nil
	})

	// Paused containers do not serve.
	docker(t, "pause", "culvert-test-two")
	s.until("no rule of a paused container", func() error { return s.wants("a.example.com", "/", http.StatusNotFound) })
	docker(t, "unpause", "culvert-test-two")
	s.until("the rule after the pause", func() error { return s.names("a.example.com", "two") })
}

// TestSwapsByContainersCutNothing carries a stream while other containers come and go.
func TestSwapsByContainersCutNothing(t *testing.T) {
	s := startLabelled(t, labelledRules)
	s.run("steady", "culvert.hostname", "steady.example.com")
	s.until("rule of the container", func() error { return s.names("steady.example.com", "steady") })
	body, feed := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, "http://"+s.listen+"/stream", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "steady.example.com"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	echo := func() {
		t.Helper()
		if _, err := feed.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, len("steady \"x\"\n"))
		if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "steady \"x\"\n" {
			t.Fatalf("stream: %q, %v", b, err)
		}
	}
	for i := range 5 {
		name := fmt.Sprintf("other-%d", i)
		id := s.run(name, "culvert.hostname", "other.example.com")
		s.until("rule of "+name, func() error { return s.names("other.example.com", name) })
		echo()
		docker(t, "rm", "-f", id)
		s.until("end of the rule of "+name, func() error { return s.wants("other.example.com", "/", http.StatusNotFound) })
		echo()
	}
	_ = feed.Close()
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("the end of the stream: %q, %v", rest, err)
	}
}

// TestEngineAway starts and stops containers while the engine cannot be reached: the rules stay, and follow once it is back.
func TestEngineAway(t *testing.T) {
	s := startLabelled(t, labelledRules)
	s.run("stays", "culvert.hostname", "stays.example.com")
	s.until("rule of the container", func() error { return s.names("stays.example.com", "stays") })
	s.engine.set(true)
	s.until("the warning", func() error {
		if !strings.Contains(s.log.String(), "containers not read, their rules stay") {
			return fmt.Errorf("log: %s", s.log.String())
		}
		return nil
	})
	s.run("late", "culvert.hostname", "late.example.com")
	if err := s.names("stays.example.com", "stays"); err != nil {
		t.Error(err)
	}
	if err := s.wants("late.example.com", "/", http.StatusNotFound); err != nil {
		t.Error(err)
	}
	s.engine.set(false)
	s.until("the rule of a container that started meanwhile", func() error { return s.names("late.example.com", "late") })
}
