package harness

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// PeerVariable names the environment variable with the path of a cloudflared binary.
const PeerVariable = "CULVERT_PEER_CLOUDFLARED"

// patience bounds every wait for a condition.
const patience = testkit.Patience

// Program is a child process and its output so far.
type Program struct {
	Cmd *exec.Cmd
	Out *Output
	// Exited is closed when the process has ended; Err is set before that.
	Exited chan struct{}
	Err    error
}

// Output records what a program prints and signals every change.
type Output struct {
	mu      sync.Mutex // guards the fields below
	text    bytes.Buffer
	changed chan struct{}
}

// Write appends p.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	close(o.changed)
	o.changed = make(chan struct{})
	return len(p), nil
}

// String is everything so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Next is closed when more is printed.
func (o *Output) Next() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

// Binary returns the path of a program in bin/.
func Binary(t *testing.T, name string) string {
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

// Installed returns the path of a program, or skips the test.
func Installed(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p := filepath.Join(dir, name); exec.CommandContext(t.Context(), "test", "-x", p).Run() == nil {
			return p
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// Start runs a program until the test ends: SIGTERM first, then SIGKILL if it does not exit.
func Start(t *testing.T, env []string, path string, args ...string) *Program {
	t.Helper()
	return StartWithInput(t, nil, env, path, args...)
}

// StartWithInput is Start with a standard input.
func StartWithInput(t *testing.T, input *os.File, env []string, path string, args ...string) *Program {
	t.Helper()
	p := &Program{Out: &Output{changed: make(chan struct{})}, Exited: make(chan struct{})}
	p.Cmd = exec.Command(path, args...) //nolint:noctx // the cleanup ends it with SIGTERM first
	p.Cmd.Env = append(os.Environ(), env...)
	p.Cmd.Stdout, p.Cmd.Stderr = p.Out, p.Out
	if input != nil {
		p.Cmd.Stdin = input
	}
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	go func() {
		p.Err = p.Cmd.Wait()
		close(p.Exited)
	}()
	t.Cleanup(func() {
		_ = p.Cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.Exited:
		case <-time.After(patience):
			_ = p.Cmd.Process.Kill()
			<-p.Exited
			t.Errorf("%s did not end on SIGTERM", filepath.Base(path))
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(path), Tail(p.Out.String(), 6000))
		}
	})
	return p
}

// Tail is the end of s, at most n bytes.
func Tail(s string, n int) string { return s[max(0, len(s)-n):] }

// Line waits for a line with the given text and returns what follows the text.
func (p *Program) Line(t *testing.T, text string) string {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		changed := p.Out.Next()
		sc := bufio.NewScanner(strings.NewReader(p.Out.String()))
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			if _, rest, ok := strings.Cut(sc.Text(), text); ok {
				return strings.TrimSpace(rest)
			}
		}
		select {
		case <-changed:
		case <-p.Exited:
			t.Fatalf("program ended (%v) before it printed %q:\n%s", p.Err, text, p.Out)
		case <-limit.C:
			t.Fatalf("no line with %q:\n%s", text, p.Out)
		}
	}
}

// Stop sends a signal and returns the exit code.
func (p *Program) Stop(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.Cmd.Process.Signal(sig); err != nil {
		t.Fatalf("signal: %v", err)
	}
	return p.ExitCode(t)
}

// ExitCode waits for the end of the program and returns its exit code, 128 plus the number of a signal that ended it.
func (p *Program) ExitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-p.Exited:
	case <-time.After(patience):
		t.Fatalf("program did not end:\n%s", p.Out)
	}
	var ee *exec.ExitError
	if errors.As(p.Err, &ee) {
		if status, ok := ee.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()) // as a shell shows it
		}
		return ee.ExitCode()
	}
	return 0
}
