package process

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signalExitBase plus the signal's number is the exit code of a process that a signal ends, as shells see it.
const signalExitBase = 128

// Signals makes a context that the first SIGINT or SIGTERM cancels, with a SignalError as the cause. The second one calls
// exit at once, with 128 plus its number. stop must be called when the context is of no more use.
func Signals(parent context.Context, exit func(code int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 2) // the package signal does not wait: both signals must find room
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for seen := 0; ; seen++ {
			select {
			case <-stopped:
				return
			case sig := <-ch:
				if n, ok := sig.(syscall.Signal); ok && seen > 0 {
					exit(signalExitBase + int(n))
				}
				cancel(SignalError{sig})
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
