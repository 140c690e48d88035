//go:build system

package system_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// stack is a compose project of one test.
type stack struct {
	t       *testing.T
	tool    []string
	project string
	env     []string
	url     string
}

// composeTool is `docker compose` where it exists, docker-compose otherwise.
func composeTool(t *testing.T) []string {
	t.Helper()
	docker := harness.Installed(t, "docker")
	if err := exec.Command(docker, "info").Run(); err != nil {
		t.Skipf("the container engine does not respond: %v", err)
	}
	if exec.Command(docker, "compose", "version").Run() == nil {
		return []string{docker, "compose"}
	}
	return []string{harness.Installed(t, "docker-compose")}
}

func composeUp(t *testing.T, args ...string) *stack {
	t.Helper()
	port := harness.FreePort(t)
	s := &stack{
		t: t, tool: composeTool(t), project: fmt.Sprintf("culverttest%d", os.Getpid()),
		env: append(os.Environ(), fmt.Sprintf("CULVERT_PORT=%d", port)),
		url: fmt.Sprintf("http://127.0.0.1:%d", port),
	}
	packImages(t)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.command("logs", "--no-color", "--tail", "40").CombinedOutput()
			t.Logf("logs:\n%s", out)
		}
		if out, err := s.command("down", "-v", "--timeout", "10").CombinedOutput(); err != nil {
			t.Errorf("compose down: %v\n%s", err, out)
		}
	})
	s.run(append([]string{"up", "-d", "--no-build"}, args...)...)
	return s
}

func (s *stack) command(args ...string) *exec.Cmd {
	all := append(s.tool[1:len(s.tool):len(s.tool)], "-p", s.project, "-f", "docker-compose.yml", "-f", "deploy/compose/local.yml")
	cmd := exec.Command(s.tool[0], append(all, args...)...)
	cmd.Dir, cmd.Env = "../..", s.env
	return cmd
}

func (s *stack) run(args ...string) string {
	s.t.Helper()
	out, err := s.command(args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// containers returns the ids of a service's running containers.
func (s *stack) containers(service string) []string {
	return strings.Fields(
		docker(
			s.t,
			"ps",
			"-q",
			"--filter",
			"label=com.docker.compose.project="+s.project,
			"--filter",
			"label=com.docker.compose.service="+service,
		),
	)
}

func (s *stack) waitHealthy(want map[string]int) {
	s.t.Helper()
	testkit.Retry(s.t, "all healthy", 2*patience, func() error {
		for service, n := range want {
			ids := s.containers(service)
			if len(ids) != n {
				return fmt.Errorf("%s: %d containers, want %d", service, len(ids), n)
			}
			for _, id := range ids {
				if h := docker(s.t, "inspect", "-f", "{{.State.Health.Status}}", id); h != "healthy" {
					return fmt.Errorf("%s %s is %s", service, id, h)
				}
			}
		}
		return nil
	})
}

// slots reads from the supervisor which worker holds which connected index.
func (s *stack) slots() (map[int]string, error) {
	ids := s.containers("supervisor")
	if len(ids) == 0 {
		return nil, errors.New("no supervisor")
	}
	ip := docker(s.t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", ids[0])
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ip+":9090/v1/slots", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var state struct {
		Connectors []struct {
			Slots []struct {
				Slot struct {
					Index int `json:"conn_index"`
				} `json:"slot"`
				Worker string `json:"worker_id"`
				Live   bool   `json:"live"`
				Status struct {
					State string `json:"state"`
				} `json:"status"`
			} `json:"slots"`
		} `json:"connectors"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&state); err != nil {
		return nil, err
	}
	held := map[int]string{}
	for _, c := range state.Connectors {
		for _, sl := range c.Slots {
			if sl.Live && sl.Status.State == "connected" {
				held[sl.Slot.Index] = sl.Worker
			}
		}
	}
	return held, nil
}

func (s *stack) waitConnected(limit time.Duration, unlike string) map[int]string {
	s.t.Helper()
	var held map[int]string
	testkit.Retry(s.t, "4 of 4 connected", limit, func() error {
		var err error
		if held, err = s.slots(); err != nil {
			return err
		}
		for i, w := range held {
			if unlike != "" && w == unlike {
				return fmt.Errorf("index %d is still with %s", i, w)
			}
		}
		if len(held) != 4 {
			return fmt.Errorf("connected: %v", held)
		}
		return nil
	})
	return held
}

// traffic sends requests of a number of visitors and counts the responses.
type traffic struct {
	ok, failed atomic.Int64
	stop       context.CancelFunc
	wg         sync.WaitGroup

	mu     sync.Mutex // guards errors
	errors []string
}

const visitors = 6

func startTraffic(t *testing.T, url string) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{stop: cancel}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: visitors}, Timeout: 30 * time.Second}
	for range visitors {
		tr.wg.Go(func() {
			for ctx.Err() == nil {
				tr.one(ctx, client, url)
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(tr.end)
	return tr
}

func (tr *traffic) one(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, url+"/", nil)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err == nil {
		var b []byte
		if b, err = io.ReadAll(resp.Body); err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %.120s", resp.Status, b)
		}
		_ = resp.Body.Close()
	}
	if err == nil {
		tr.ok.Add(1)
		return
	}
	tr.failed.Add(1)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.errors = append(tr.errors, time.Now().Format("15:04:05.000 ")+err.Error())
}

func (tr *traffic) end() {
	tr.stop()
	tr.wg.Wait()
}

// during runs f under traffic, continues for a while, and returns what the visitors saw.
func (tr *traffic) during(t *testing.T, what string, most int64, f func()) {
	t.Helper()
	ok, failed := tr.ok.Load(), tr.failed.Load()
	f()
	seen := tr.ok.Load()
	testkit.Retry(t, "visitors served after: "+what, patience, func() error {
		if tr.ok.Load() < seen+200 {
			return fmt.Errorf("%d served since", tr.ok.Load()-seen)
		}
		return nil
	})
	ok, failed = tr.ok.Load()-ok, tr.failed.Load()-failed
	t.Logf("%s: %d requests served, %d lost", what, ok, failed)
	if failed > most {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		t.Errorf("%s: %d requests lost, at most %d can have been in hand:\n%s", what, failed, most, strings.Join(tr.errors, "\n"))
	}
	tr.mu.Lock()
	tr.errors = nil
	tr.mu.Unlock()
}

func TestComposeStackSurvives(t *testing.T) {
	s := composeUp(t, "--scale", "conn-worker=3", "--scale", "proxy=2")
	s.waitHealthy(map[string]int{"redis": 1, "edge": 1, "discovery": 1, "supervisor": 1, "conn-worker": 3, "proxy": 2, "origin": 1})
	testkit.Retry(t, "a request through the stack", patience, func() error {
		resp, err := http.Get(s.url + "/")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || !strings.Contains(string(b), "Culvert") {
			return fmt.Errorf("%s: %.200s", resp.Status, b)
		}
		return nil
	})
	var held map[int]string
	testkit.Retry(t, "4 indices on 3 workers", patience, func() error {
		held = s.waitConnected(patience, "")
		perWorker := map[string]int{}
		for _, w := range held {
			perWorker[w]++
		}
		if len(perWorker) != 3 {
			return fmt.Errorf("on %d workers: %v", len(perWorker), held)
		}
		return nil
	})
	t.Logf("indices over workers: %v", held)

	tr := startTraffic(t, s.url)
	tr.during(t, "a worker killed", visitors, func() {
		id := s.containers("conn-worker")[0]
		name := docker(t, "inspect", "-f", "{{.Config.Hostname}}", id)
		began := time.Now()
		docker(t, "kill", "-s", "KILL", id)
		var gone string
		for _, w := range held {
			if strings.Contains(w, name) {
				gone = w
			}
		}
		if gone == "" {
			t.Fatalf("no worker is called after host %s: %v", name, held)
		}
		now := s.waitConnected(20*time.Second, gone)
		t.Logf("4 of 4 again after %v: %v", time.Since(began).Round(time.Millisecond), now)
	})
	tr.during(t, "a proxy killed", visitors, func() { docker(t, "kill", "-s", "KILL", s.containers("proxy")[0]) })
	tr.during(t, "redis stopped for a minute", 0, func() {
		s.run("stop", "-t", "1", "redis")
		pause(t, time.Minute)
		s.run("start", "redis")
		s.waitConnected(patience, "")
	})
	tr.during(t, "the supervisor killed", 0, func() {
		docker(t, "kill", "-s", "KILL", s.containers("supervisor")[0])
		pause(t, 20*time.Second)
	})
	tr.end()
}

// pause lets an outage last as long as the scenario says.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func TestComposeFilesAreValid(t *testing.T) {
	s := &stack{t: t, tool: composeTool(t), project: "culvertconfig", env: os.Environ()}
	out := s.run("config")
	for _, service := range []string{"redis", "edge", "discovery", "supervisor", "conn-worker", "proxy", "origin"} {
		if !strings.Contains(out, "\n  "+service+":") {
			t.Errorf("compose does not see %s in %s", service, filepath.Base("docker-compose.yml"))
		}
	}
}
