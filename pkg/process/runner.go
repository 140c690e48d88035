package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Runner is a part of a process: Run blocks until its context ends and all its resources are released. It then
// returns nil, or an error when it failed.
type Runner interface {
	Run(ctx context.Context) error
}

// RunnerFunc is a function as a Runner.
type RunnerFunc func(ctx context.Context) error

// Run calls f.
func (f RunnerFunc) Run(ctx context.Context) error { return f(ctx) }

// ErrStoppedEarly says that a part returned before its context ended.
var ErrStoppedEarly = errors.New("stopped early")

// SignalError is the cause of a context that a signal cancelled.
type SignalError struct{ os.Signal }

// Error names the signal.
func (s SignalError) Error() string { return "signal: " + s.String() }

const (
	// readyPoll is the interval at which Ready of a starting part is called.
	readyPoll = 5 * time.Millisecond
	// DefaultAwait is how long the start of a part may hold up the next ones.
	DefaultAwait = 5 * time.Second
)

// Row is one part of a Group.
type Row struct {
	Name   string
	Runner Runner
	// Ready says when the next row may start; nil means at once.
	Ready func() error
	// Await bounds the wait for Ready; afterwards the next row starts anyway, because a part may depend on
	// something that never becomes available. Zero is DefaultAwait.
	Await time.Duration
}

// Group runs parts: it starts them in order, each when the former is ready, and stops them in reverse order, each when
// the one after it has ended. The first error stops all.
type Group struct {
	logger *slog.Logger
	rows   []Row
}

// NewGroup makes a group of rows; the order says what needs what.
func NewGroup(logger *slog.Logger, rows ...Row) *Group {
	return &Group{logger: logger, rows: rows}
}

// started is a row that runs.
type started struct {
	row    Row
	cancel context.CancelCauseFunc
	done   chan struct{} // closed by the row's goroutine after it set err
	err    error
}

// Run runs all rows until ctx ends or one of them does.
func (g *Group) Run(ctx context.Context) error {
	ended := make(chan *started, len(g.rows)) // one message of each row, never blocking
	var running []*started
	var first error
	for _, row := range g.rows {
		s := start(ctx, row, ended)
		running = append(running, s)
		if first = g.await(ctx, row, ended); first != nil || ctx.Err() != nil {
			break
		}
		g.logger.DebugContext(ctx, "part started", slog.String(logkey.Part, row.Name))
	}
	if first == nil {
		select {
		case <-ctx.Done():
		case s := <-ended:
			first = s.failure()
		}
	}
	return errors.Join(first, g.stop(ctx, running, first))
}

// start runs row on a context that ends only when the group says so, not with ctx: the order of the stop matters.
func start(ctx context.Context, row Row, ended chan<- *started) *started {
	rowCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	s := &started{row: row, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.err = row.Runner.Run(rowCtx)
		ended <- s
	}()
	return s
}

// failure is the error of a row that ended by itself.
func (s *started) failure() error {
	<-s.done
	if s.err == nil {
		return fmt.Errorf("%s: %w", s.row.Name, ErrStoppedEarly)
	}
	return fmt.Errorf("%s: %w", s.row.Name, s.err)
}

// await waits until row is ready, its time is over, or ctx ends; a row that ends meanwhile is an error.
func (g *Group) await(ctx context.Context, row Row, ended <-chan *started) error {
	if row.Ready == nil {
		return nil
	}
	bound := row.Await
	if bound == 0 {
		bound = DefaultAwait
	}
	timer := time.NewTimer(bound)
	defer timer.Stop()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := row.Ready()
		if err == nil {
			return nil
		}
		select {
		case s := <-ended:
			return s.failure()
		case <-ctx.Done():
			return nil
		case <-timer.C:
			g.logger.DebugContext(ctx, "part not ready yet", slog.String(logkey.Part, row.Name), slog.Any(logkey.Err, err))
			return nil
		case <-tick.C:
		}
	}
}

// stop ends the rows from the last to the first, and returns their errors except the first one.
func (g *Group) stop(ctx context.Context, running []*started, first error) error {
	cause := context.Cause(ctx)
	if cause == nil {
		cause = first
	}
	var problems []error
	for i := len(running) - 1; i >= 0; i-- {
		s := running[i]
		s.cancel(cause)
		<-s.done
		if s.err != nil && !errors.Is(first, s.err) && !errors.Is(s.err, context.Canceled) {
			problems = append(problems, fmt.Errorf("%s: %w", s.row.Name, s.err))
		}
	}
	return errors.Join(problems...)
}
