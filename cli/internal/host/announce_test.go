package host

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

func TestMain(m *testing.M) { testkit.VerifyMain(m) }

// manager listens as a service manager does, and gives the messages.
func manager(t *testing.T) (socket string, messages <-chan string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan string, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			ch <- string(buf[:n])
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return socket, ch
}

// next gives the next message that is no sign of life.
func next(t *testing.T, messages <-chan string) string {
	t.Helper()
	for {
		if m := testkit.Receive(t, "message to the service manager", messages); m != msgWatchdog {
			return m
		}
	}
}

func TestAnnouncement(t *testing.T) {
	socket, messages := manager(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	var connected, hangs atomic.Bool
	a := &Announcement{
		Ready: func() error {
			if connected.Load() {
				return nil
			}
			return errors.New("connecting")
		},
		Alive: func(ctx context.Context) error {
			if hangs.Load() {
				<-ctx.Done() // like a lock that is never released
			}
			return ctx.Err()
		},
		PIDFile: pidFile, Grace: 30 * time.Second, Logger: slog.New(slog.DiscardHandler),
		Manager: Manager{Socket: socket, WatchdogUSec: "40000", WatchdogPID: strconv.Itoa(os.Getpid())},
	}
	reloads := 0
	a.Reloading(t.Context(), func() { reloads++ }) // before the first connection: nothing is told
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()

	for range 3 { // also before the first connection
		if m := testkit.Receive(t, "sign of life", messages); m != msgWatchdog {
			t.Fatalf("message %q, want %q", m, msgWatchdog)
		}
	}
	if _, err := os.Stat(pidFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pid file before the first connection: %v", err)
	}
	connected.Store(true)
	if m := next(t, messages); m != "READY=1" {
		t.Errorf("message %q, want READY=1", m)
	}
	if b, err := os.ReadFile(pidFile); err != nil || string(b) != strconv.Itoa(os.Getpid()) {
		t.Errorf("pid file %q, %v", b, err)
	}
	testkit.Eventually(t, "announced", a.announced.Load)

	a.Reloading(t.Context(), func() { reloads++ })
	usec, ok := strings.CutPrefix(next(t, messages), "RELOADING=1\nMONOTONIC_USEC=")
	if n, err := strconv.ParseUint(usec, 10, 63); !ok || err != nil || n == 0 {
		t.Errorf("MONOTONIC_USEC=%q, want a reading of the clock", usec)
	}
	if m := next(t, messages); m != "READY=1" {
		t.Errorf("message %q after the reload, want READY=1", m)
	}
	if reloads != 2 {
		t.Errorf("%d reloads, want 2", reloads)
	}

	hangs.Store(true)
	cancel()
	if m := next(t, messages); m != "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000" {
		t.Errorf("message %q at the end", m)
	}
	if err := testkit.Receive(t, "the end", ended); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestWatchdogStopsWithTheProcess: a process that hangs gives no more signs of life.
func TestWatchdogStopsWithTheProcess(t *testing.T) {
	socket, messages := manager(t)
	var log lines
	var beats atomic.Int32
	gone, stuck := make(chan struct{}), make(chan struct{})
	defer close(stuck)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := &Announcement{
		Alive: func(ctx context.Context) error {
			if beats.Add(1) <= 2 {
				return nil
			}
			close(gone) // a second call would panic: one question is open at a time
			<-stuck     // like a lock that is never released
			return ctx.Err()
		},
		Manager: Manager{Socket: socket}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.watchdog(ctx, 5*time.Millisecond)
	}()
	testkit.Receive(t, "a hanging process", gone)
	testkit.Eventually(t, "the missing sign of life", func() bool { return strings.Count(log.String(), "no sign of life") >= 3 })
	cancel()
	testkit.Receive(t, "the end", ended)
	if n := len(messages); n != 2 {
		t.Errorf("%d signs of life, want 2; log:\n%s", n, log.String())
	}
}

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestWatchdogEvery(t *testing.T) {
	for name, c := range map[string]struct {
		usec, pid string
		want      time.Duration
	}{
		"none":          {"", "", 0},
		"no number":     {"soon", "", 0},
		"zero":          {"0", "", 0},
		"negative":      {"-1", "", 0},
		"30 s":          {"30000000", "", 7500 * time.Millisecond},
		"ours":          {"30000000", "7", 7500 * time.Millisecond},
		"of another":    {"30000000", "8", 0},
		"short":         {"1", "", time.Millisecond},
		"very long":     {"4611686018427387903", "", 6 * time.Hour},
		"out of bounds": {"99999999999999999999", "", 0},
	} {
		if got := watchdogEvery(c.usec, c.pid, 7); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func FuzzWatchdogEvery(f *testing.F) {
	f.Add("30000000", "7")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, usec, pid string) {
		if d := watchdogEvery(usec, pid, 7); d < 0 || d > 6*time.Hour {
			t.Errorf("watchdogEvery(%q, %q) = %v", usec, pid, d)
		}
	})
}
