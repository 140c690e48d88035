package process

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// signalExitBase plus the signal's number is the exit code of a process that a signal ends, as shells see it.
const signalExitBase = 128

// signalEcho is the time in which a further signal counts as the first one again: programs such as timeout, and
// terminals with a launcher between, signal the process and its group.
const signalEcho = 250 * time.Millisecond

// Reloads calls reload for each SIGHUP until ctx ends. While it runs, SIGHUP does not end the process.
func Reloads(ctx context.Context, reload func()) error {
	ch := make(chan os.Signal, 1) // one pending reload covers all signals before it
	signal.Notify(ch, syscall.SIGHUP)
	defer signal.Stop(ch)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ch:
			reload()
		}
	}
}

// Signals makes a context that the first SIGINT or SIGTERM cancels, with a SignalError as the cause. A later one calls
// exit at once, with 128 plus its number. stop must be called when the context is of no more use.
func Signals(parent context.Context, exit func(code int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 2) // the package signal does not wait: both signals must find room
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var first time.Time
		for {
			select {
			case <-stopped:
				return
			case sig := <-ch:
				n, ok := sig.(syscall.Signal)
				switch {
				case first.IsZero():
					first = time.Now()
					cancel(SignalError{sig})
				case ok && time.Since(first) > signalEcho:
					exit(signalExitBase + int(n))
				}
			}
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(stopped)
		<-ended
		cancel(nil)
	}
}
