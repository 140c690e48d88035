//go:build system

package system_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// patience bounds every wait for a condition.
const patience = testkit.Patience

// program is a child process and its output so far.
type program struct {
	cmd    *exec.Cmd
	out    *lines
	exited chan struct{}
	err    error
}

// lines records the output of a program and signals every change.
type lines struct {
	mu      sync.Mutex // guards the fields below
	text    bytes.Buffer
	changed chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func binary(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join("../../bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	return p
}

// installed returns the path of a program, or skips the test.
func installed(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p := filepath.Join(dir, name); exec.Command("test", "-x", p).Run() == nil {
			return p
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// start runs a program until the test ends: SIGTERM first, then SIGKILL if it does not exit.
func start(t *testing.T, env []string, path string, args ...string) *program {
	t.Helper()
	p := &program{out: &lines{changed: make(chan struct{})}, exited: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(patience):
			_ = p.cmd.Process.Kill()
			<-p.exited
			t.Errorf("%s did not end on SIGTERM", filepath.Base(path))
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(path), tail(p.out.String(), 6000))
		}
	})
	return p
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// line waits for a line with the given text and returns what follows the text.
func (p *program) line(t *testing.T, text string) string {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		changed := p.out.next()
		sc := bufio.NewScanner(strings.NewReader(p.out.String()))
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			if _, rest, ok := strings.Cut(sc.Text(), text); ok {
				return strings.TrimSpace(rest)
			}
		}
		select {
		case <-changed:
		case <-p.exited:
			t.Fatalf("program ended (%v) before it printed %q:\n%s", p.err, text, p.out)
		case <-limit.C:
			t.Fatalf("no line with %q:\n%s", text, p.out)
		}
	}
}

// stop sends a signal and returns the exit code.
func (p *program) stop(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal: %v", err)
	}
	return p.exitCode(t)
}

func (p *program) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("program did not end:\n%s", p.out)
	}
	var ee *exec.ExitError
	if errors.As(p.err, &ee) {
		return ee.ExitCode()
	}
	return 0
}

// figures are the resources of a process that a leak would increase.
type figures struct {
	descriptors, goroutines int
	residentMiB             int
}

func (f figures) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d MiB", f.descriptors, f.goroutines, f.residentMiB)
}

// measure reads the figures of a process; metrics is the address of its /metrics.
func measure(t *testing.T, pid int, metrics string) figures {
	t.Helper()
	var f figures
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	f.descriptors = len(fds)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			f.residentMiB = kb >> 10
		}
	}
	for l := range strings.SplitSeq(get(t, "http://"+metrics+"/metrics"), "\n") {
		if rest, ok := strings.CutPrefix(l, "go_goroutines "); ok {
			n, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				t.Fatal(err)
			}
			f.goroutines = int(n)
		}
	}
	return f
}

func get(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s\n%s", url, resp.Status, b)
	}
	return string(b)
}

// freePort returns a port that is free for TCP and UDP.
func freePort(t *testing.T) int {
	t.Helper()
	return int(testkit.FreeTCPAndUDP(t).Port())
}
