package host

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

const (
	// pollEvery is how often a state that nothing signals is asked for.
	pollEvery   = 100 * time.Millisecond
	pidFileMode = 0o644
	// notifyTime bounds one message to the service manager.
	notifyTime = time.Second
)

// Manager is what the environment says about the service manager.
type Manager struct {
	// Socket takes the messages (NOTIFY_SOCKET); "" says that there is no manager.
	Socket string
	// WatchdogUSec and WatchdogPID are the texts of WATCHDOG_USEC and WATCHDOG_PID.
	WatchdogUSec, WatchdogPID string
}

// Announcement reports to the host: to the pid file when the first connection is registered, and to the service manager from the
// first connection to the end (docs/spec/lifecycle.md 10.4).
type Announcement struct {
	// Ready says why there is no connection to the edge, or nil.
	Ready func() error
	// Alive says why the process should be restarted, or nil. It may block when the process hangs.
	Alive func(ctx context.Context) error
	// PIDFile is the file that gets the process id, "" for none.
	PIDFile string
	Manager Manager
	// Grace is the longest duration of the drain.
	Grace  time.Duration
	Logger *slog.Logger

	announced atomic.Bool
}

// Run waits for the first connection, announces it, and announces the end.
func (a *Announcement) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	if every := watchdogEvery(a.Manager.WatchdogUSec, a.Manager.WatchdogPID, os.Getpid()); every > 0 && a.Manager.Socket != "" {
		tasks.Go(func() { a.watchdog(ctx, every) })
	}
	if a.awaitReady(ctx) {
		a.announce(ctx)
		<-ctx.Done()
	}
	a.tell(context.WithoutCancel(ctx), msgStopping(a.Grace))
	return nil
}

// awaitReady waits for the first connection. It returns false when ctx ends first.
func (a *Announcement) awaitReady(ctx context.Context) bool {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for a.Ready() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

func (a *Announcement) announce(ctx context.Context) {
	a.Logger.InfoContext(ctx, "first connection registered")
	if a.PIDFile != "" {
		if err := os.WriteFile(a.PIDFile, []byte(strconv.Itoa(os.Getpid())), pidFileMode); err != nil {
			a.Logger.ErrorContext(ctx, "pid file not written", slog.Any(logkey.Err, err))
		}
	}
	a.tell(ctx, msgReady)
	a.announced.Store(true)
}

// tell sends a message to the service manager, if there is one.
func (a *Announcement) tell(ctx context.Context, message string) {
	if a.Manager.Socket == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTime)
	defer cancel()
	if err := notify(ctx, a.Manager.Socket, message); err != nil {
		a.Logger.WarnContext(ctx, "service manager not notified", slog.Any(logkey.Err, err))
	}
}

// Reloading runs reload and tells the service manager that it begins and ends. Before the first connection nothing is told: the end
// of a reload is the same message as the end of the start.
func (a *Announcement) Reloading(ctx context.Context, reload func()) {
	if !a.announced.Load() || a.Manager.Socket == "" {
		reload()
		return
	}
	now, err := monotonic()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		a.Logger.WarnContext(ctx, "service manager not notified", slog.Any(logkey.Err, err))
	}
	a.tell(ctx, msgReloading(now))
	reload()
	a.tell(ctx, msgReady)
}

// watchdog tells the service manager that the process lives, as long as it does. A process that hangs is restarted by the manager.
func (a *Announcement) watchdog(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var check pulse
	for {
		if err := check.take(ctx, a.Alive, every); err == nil {
			a.tell(ctx, msgWatchdog)
		} else if ctx.Err() == nil {
			a.Logger.ErrorContext(ctx, "no sign of life for the service manager", slog.Any(logkey.Err, err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pulse asks whether the process lives, one question at a time. The question may hang as the process does; nothing waits for it.
type pulse struct {
	result chan error // of the question that is open, or nil
}

// take returns the result of alive within the limit, or of the question before it when that one was still open.
func (p *pulse) take(ctx context.Context, alive func(context.Context) error, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if p.result == nil {
		result := make(chan error, 1)
		p.result = result
		go func() { result <- alive(ctx) }()
	}
	select {
	case err := <-p.result:
		p.result = nil
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
