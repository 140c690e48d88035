package host

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

const (
	// pollEvery is how often a state that nothing signals is asked for.
	pollEvery   = 100 * time.Millisecond
	pidFileMode = 0o644
)

// Announcement reports to the host when the first connection is registered: the pid file, and the service manager
// (docs/spec/lifecycle.md 10.4).
type Announcement struct {
	// Ready says why there is no connection to the edge, or nil.
	Ready func() error
	// PIDFile is the file that gets the process id, "" for none.
	PIDFile string
	// Notify is the socket of the service manager, "" for none.
	Notify string
	Logger *slog.Logger
}

// Run waits for the first connection, announces it, and waits for the end.
func (a Announcement) Run(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for a.Ready() != nil {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	a.announce(ctx)
	<-ctx.Done()
	return nil
}

func (a Announcement) announce(ctx context.Context) {
	a.Logger.InfoContext(ctx, "first connection registered")
	if a.PIDFile != "" {
		if err := os.WriteFile(a.PIDFile, []byte(strconv.Itoa(os.Getpid())), pidFileMode); err != nil {
			a.Logger.ErrorContext(ctx, "pid file not written", slog.Any(logkey.Err, err))
		}
	}
	if a.Notify == "" {
		return
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixgram", a.Notify)
	if err != nil {
		a.Logger.WarnContext(ctx, "service manager not notified", slog.Any(logkey.Err, err))
		return
	}
	_, err = conn.Write([]byte("READY=1"))
	if closeErr := conn.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		a.Logger.WarnContext(ctx, "service manager not notified", slog.Any(logkey.Err, err))
	}
}
