package link

import (
	"sync"
	"syscall"
	"time"
)

// watchDelay is how long a flow runs before a watch for the end of the other side begins. Most flows are over by then and do not
// pay for it.
const watchDelay = 2 * time.Millisecond

// past is a deadline that makes a pending read fail at once.
func past() time.Time { return time.Unix(1, 0) }

// watch detects that the worker hung up while the handler runs and does not read. It reads nothing where the system can report
// a hang-up (canWatch); otherwise it reads ahead into the flow's buffer.
//
// Watching and reading exclude each other: beginRead ends the watch, endRead lets it begin again.
type watch struct {
	fr   *frameReader
	raw  syscall.RawConn
	step func(fd uintptr) bool
	// hungUp is called from the watch's goroutine.
	hungUp func(error)
	// reads says that this watch reads ahead.
	reads bool
	timer *time.Timer

	// mu guards the rest.
	mu      sync.Mutex
	running bool
	reading bool
	// wanted says that a watch is due after the read that is under way.
	wanted bool
	// done is closed by the running watch when it ends.
	done chan struct{}
}

func (w *watch) init(fr *frameReader, raw syscall.RawConn, reads bool, hungUp func(error)) {
	w.fr, w.raw, w.hungUp = fr, raw, hungUp
	w.reads = reads || raw == nil
	w.step = hasHangUp
	w.timer = time.AfterFunc(time.Hour, w.run)
	w.timer.Stop()
}

// start is called when a flow begins.
func (w *watch) start() {
	w.mu.Lock()
	w.running, w.wanted = true, false
	w.mu.Unlock()
	w.timer.Reset(watchDelay)
}

// stop is called when the handler has returned; after it nothing touches the connection.
func (w *watch) stop() {
	w.timer.Stop()
	w.mu.Lock()
	w.running = false
	done := w.done
	w.mu.Unlock()
	w.interrupt(done)
}

// beginRead must come before any read of the connection while the handler runs.
func (w *watch) beginRead() {
	w.mu.Lock()
	w.reading = true
	done := w.done
	if done != nil {
		w.wanted = true
	}
	w.mu.Unlock()
	w.interrupt(done)
}

func (w *watch) endRead() {
	w.mu.Lock()
	w.reading = false
	rearm := w.wanted && w.running
	w.wanted = false
	w.mu.Unlock()
	if rearm {
		w.timer.Reset(watchDelay)
	}
}

func (w *watch) interrupt(done chan struct{}) {
	if done == nil {
		return
	}
	_ = w.fr.nc.SetReadDeadline(past()) // a closed connection ends the watch as well
	<-done
	_ = w.fr.nc.SetReadDeadline(time.Time{})
}

// run is the timer's function: it has its own goroutine, and interrupt waits for it.
func (w *watch) run() {
	w.mu.Lock()
	if !w.running || w.done != nil {
		w.mu.Unlock()
		return
	}
	if w.reading {
		w.wanted = true
		w.mu.Unlock()
		return
	}
	done := make(chan struct{})
	w.done = done
	w.mu.Unlock()

	err := w.wait()

	w.mu.Lock()
	w.done = nil
	if err == nil {
		w.wanted = true // bytes came: watch again after the handler's next read
	}
	w.mu.Unlock()
	close(done)
	if err != nil && !isTimeout(err) {
		w.hungUp(err)
	}
}

// wait returns an error when the worker hung up, and nil or a time-out when the watch is to end.
func (w *watch) wait() error {
	if !w.reads {
		if err := w.raw.Read(w.step); err != nil {
			return err
		}
		return errHungUp
	}
	in := w.fr.in
	if in.w == len(in.b) {
		return nil // the next read of the handler goes on
	}
	n, err := w.fr.nc.Read(in.b[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return noEOF(err)
}
