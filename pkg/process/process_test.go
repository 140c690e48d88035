package process_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is what parts wrote, in order.
type journal struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.lines...)
}

func (j *journal) row(name string, end error) process.Row {
	ready := make(chan struct{})
	return process.Row{
		Name: name,
		Runner: process.RunnerFunc(func(ctx context.Context) error {
			j.add("start " + name)
			close(ready)
			<-ctx.Done()
			j.add("stop " + name)
			return end
		}),
		Ready: func() error {
			select {
			case <-ready:
				return nil
			default:
				return errors.New("starting")
			}
		},
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestGroupOrder(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancelCause(t.Context())
	last := process.Row{Name: "d", Runner: process.RunnerFunc(func(ctx context.Context) error {
		j.add("start d")
		cancel(process.SignalError{Signal: syscall.SIGTERM})
		<-ctx.Done()
		j.add("stop d: " + context.Cause(ctx).Error())
		return nil
	})}
	err := process.NewGroup(quiet(), j.row("a", nil), j.row("b", nil), j.row("c", nil), last).Run(ctx)
	if err != nil {
		t.Errorf("Run = %v", err)
	}
	want := []string{"start a", "start b", "start c", "start d", "stop d: signal: terminated", "stop c", "stop b", "stop a"}
	if d := cmp.Diff(want, j.all()); d != "" {
		t.Errorf("order: -want +got\n%s", d)
	}
}

func TestGroupErrors(t *testing.T) {
	boom := errors.New("boom")
	ends := func(err error) process.Row {
		return process.Row{Name: "x", Runner: process.RunnerFunc(func(context.Context) error { return err })}
	}
	never := func() error { return errors.New("never") }
	for name, tc := range map[string]struct {
		rows func(j *journal) []process.Row
		want error
		text string
	}{
		"error stops all": {func(j *journal) []process.Row { return []process.Row{j.row("a", nil), ends(boom)} }, boom, "x: boom"},
		"early end is an error": {
			func(j *journal) []process.Row { return []process.Row{j.row("a", nil), ends(nil)} },
			process.ErrStoppedEarly, "x: stopped early",
		},
		"end while starting": {func(j *journal) []process.Row {
			r := ends(boom)
			r.Ready = never
			return []process.Row{j.row("a", nil), r, j.row("b", nil)}
		}, boom, "x: boom"},
		"error while stopping": {
			func(j *journal) []process.Row { return []process.Row{j.row("a", errors.New("late")), ends(boom)} },
			boom, "x: boom\na: late",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var j journal
			err := process.NewGroup(quiet(), tc.rows(&j)...).Run(t.Context())
			if !errors.Is(err, tc.want) || err.Error() != tc.text {
				t.Errorf("Run = %q, want %q", err, tc.text)
			}
			if got := j.all(); !cmp.Equal(got, []string{"start a", "stop a"}) {
				t.Errorf("journal = %v", got)
			}
		})
	}
}

func TestGroupGoesOnWithoutReadiness(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	slow := j.row("slow", nil)
	slow.Ready, slow.Await = func() error { return errors.New("waits for the world") }, time.Millisecond
	next := process.Row{Name: "next", Runner: process.RunnerFunc(func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return nil
	})}
	var log bytes.Buffer
	if err := process.NewGroup(
		slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		slow,
		next,
	).Run(
		ctx,
	); err != nil {
		t.Errorf("Run = %v", err)
	}
	if !strings.Contains(log.String(), "waits for the world") {
		t.Errorf("log = %s", log.String())
	}
}

type cfg struct {
	Name string `yaml:"name" usage:"a name"`
}

func (c *cfg) Validate() error {
	if c.Name == "" {
		return errors.New("name: empty")
	}
	return nil
}

// program runs Exec with args until stop.
type program struct {
	stdout, stderr bytes.Buffer
	code           int
}

func exec(ctx context.Context, run func(ctx context.Context) error, args ...string) *program {
	p := &program{}
	host := process.Host{Args: args, Environ: []string{"GOMAXPROCS=2", "CULVERT_NAME=fromenv"}, Stdout: &p.stdout, Stderr: &p.stderr}
	p.code = process.Exec(ctx, host, "demo", cfg{Name: "n"},
		func(_ context.Context, env process.Env, c cfg) (process.Runner, error) {
			if c.Name == "unbuildable" {
				return nil, errors.New("no parts")
			}
			env.Defer(func() error { env.Logger.Info("closed"); return nil })
			return process.RunnerFunc(run), nil
		}, process.HalfCores())
	return p
}

func TestExecCommands(t *testing.T) {
	idle := func(context.Context) error { return errors.New("must not run") }
	for name, tc := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"version": {[]string{"version"}, 0, "demo ", ""},
		"help":    {[]string{"--help"}, 0, "--ops.listen", ""},
		"config": {
			[]string{"config", "--log.level", "warn"},
			0,
			"name: fromenv\nops:\n    listen: 127.0.0.1:0\n    hosts: []\n    token_file: \"\"\n    socket: \"\"\nlog:\n    level: warn", "",
		},
		"unknown flag":    {[]string{"--nope"}, 1, "", "demo: unknown flag --nope\n"},
		"unknown command": {[]string{"fly"}, 1, "", `demo: unknown command "fly"`},
		"argument":        {[]string{"config", "x"}, 1, "", `demo: unexpected argument "x"`},
		"invalid":         {[]string{"--name=", "--log.format=xml", "--ops.listen=x"}, 1, "", "demo: name: empty\ndemo: ops: listen: "},
		"no fixed port":   {[]string{"healthcheck"}, 1, "", "no fixed port"},
		"nobody listens":  {[]string{"healthcheck", "--ops.listen", "127.0.0.1:1"}, 1, "", "connection refused"},
		"build fails":     {[]string{"--name", "unbuildable"}, 1, "", `err="no parts"`},
	} {
		t.Run(name, func(t *testing.T) {
			p := exec(t.Context(), idle, tc.args...)
			if p.code != tc.code || !strings.Contains(p.stdout.String(), tc.stdout) || !strings.Contains(p.stderr.String(), tc.stderr) {
				t.Errorf("code %d\nstdout %s\nstderr %s\nwant %+v", p.code, p.stdout.String(), p.stderr.String(), tc)
			}
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestExecServesAndStops(t *testing.T) {
	listen := freePort(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	p := exec(ctx, func(ctx context.Context) error {
		check := exec(ctx, nil, "healthcheck", "--ops.listen", listen)
		if check.code != 0 {
			t.Errorf("healthcheck = %d %s", check.code, check.stderr.String())
		}
		cancel(process.SignalError{Signal: syscall.SIGINT})
		<-ctx.Done()
		// The listener still responds, but reports that the process stops.
		if check := exec(
			t.Context(),
			nil,
			"healthcheck",
			"--ops.listen",
			listen,
		); check.code != 1 ||
			!strings.Contains(check.stderr.String(), "stopping") {
			t.Errorf("healthcheck while stopping = %d %s", check.code, check.stderr.String())
		}
		return nil
	}, "--ops.listen", listen)
	if p.code != 0 || !strings.Contains(p.stderr.String(), "closed") || !strings.Contains(p.stderr.String(), "process stopped") {
		t.Errorf("code %d, stderr %s", p.code, p.stderr.String())
	}
}

func TestExecEarlyEndIsFatal(t *testing.T) {
	p := exec(t.Context(), func(context.Context) error { return nil })
	if p.code != 1 || !strings.Contains(p.stderr.String(), "stopped early") {
		t.Errorf("code %d, stderr %s", p.code, p.stderr.String())
	}
}

func TestHangupReloads(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reloaded, ended := make(chan struct{}, 1), make(chan error, 1)
	// The test's own handler makes sure that a signal before Reloads listens does not end the test.
	guard := make(chan os.Signal, 1)
	signal.Notify(guard, syscall.SIGHUP)
	defer signal.Stop(guard)
	go func() {
		ended <- process.Reloads(ctx, func() {
			select {
			case reloaded <- struct{}{}:
			default: // once is enough
			}
		})
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for done := false; !done; {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		select {
		case <-reloaded:
			done = true
		case <-tick.C:
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Reloads = %v", err)
	}
}

func TestSignals(t *testing.T) {
	exits := make(chan int, 1)
	ctx, stop := process.Signals(t.Context(), func(code int) {
		select {
		case exits <- code:
		default: // once is enough
		}
	})
	defer stop()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	var sig process.SignalError
	if !errors.As(context.Cause(ctx), &sig) || sig.Signal != syscall.SIGTERM {
		t.Errorf("cause = %v", context.Cause(ctx))
	}
	// The echo of the first one is no second one; what comes later is.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for sent := 0; ; sent++ {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		select {
		case code := <-exits:
			if code != 130 || sent == 0 {
				t.Errorf("exit code %d after %d signals, want 130", code, sent)
			}
			return
		case <-tick.C:
		}
	}
}
