package main

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 30 * time.Second

// asProgram is the variable that makes the test binary run a command line, as the program does. No binary is built for the tests.
const asProgram = "CULVERT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is a command line of the program in a process of its own, with an empty home directory.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("path of the test binary: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = []string{"HOME=" + t.TempDir(), asProgram + "=1"}
	return cmd
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var ee *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ee):
		return ee.ExitCode()
	}
	t.Fatal(err)
	return -1
}

func TestProgram(t *testing.T) {
	t.Run("exit codes", func(t *testing.T) {
		t.Parallel()
		for want, lines := range map[int][]string{
			0: {"version", "tunnel run --help"},
			1: {"--bogus", "tunnel run", "edge --bogus"}, // package command tests the others without a process
		} {
			for _, line := range lines {
				out, err := program(t, strings.Fields(line)...).CombinedOutput()
				if code := exitCode(t, err); code != want {
					t.Errorf("culvert %s: exit %d, want %d\n%s", line, code, want, out)
				}
			}
		}
	})
	t.Run("up, interrupted", func(t *testing.T) {
		t.Parallel()
		cmd, url := startUp(t)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("GET = %d %v", resp.StatusCode, err)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := exitCode(t, cmd.Wait()); code != 0 {
			t.Errorf("exit %d", code)
		}
	})
	t.Run("up, terminated twice", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		origin := slowOrigin(t, release)
		defer close(release)
		cmd, url := startUp(t, "--url", origin)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/slow", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req) // its response never ends, so the drain would wait
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		var end error
		for running := true; running; {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended just now
			select {
			case end = <-ended:
				running = false
			case <-tick.C:
			}
		}
		if code := exitCode(t, end); code != 143 {
			t.Errorf("exit %d after the second signal, want 143", code)
		}
	})
}

// running is a binary with its output.
type running struct {
	*exec.Cmd
	lines chan string
}

func startUp(t *testing.T, args ...string) (*running, string) {
	t.Helper()
	cmd := program(t, append([]string{"up", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start: %v", err)
	}
	r := &running{Cmd: cmd, lines: make(chan string, 16)}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	return r, r.line(t, "Public URL: ")
}

// line waits for a line with prefix; "" when the output ends before.
func (r *running) line(t *testing.T, prefix string) string {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case text, ok := <-r.lines:
			if !ok {
				return ""
			}
			if rest, found := strings.CutPrefix(text, prefix); found {
				return rest
			}
		case <-timer.C:
			t.Fatalf("no line %q", prefix)
		}
	}
}

func slowOrigin(t *testing.T, release <-chan struct{}) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			return
		}
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}
