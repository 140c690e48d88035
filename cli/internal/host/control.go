package host

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const controlHelp = "commands on standard input: help; reconnect [DELAY], which breaks one connection, chosen at random, and makes it " +
	"again after the delay"

// Connections are the connections of this process to the edge.
type Connections interface {
	// Registered lists those that are registered.
	Registered() []tunnel.ConnIndex
	// Reconnect breaks one and makes it again after the delay; the error says that it is not registered any more.
	Reconnect(index tunnel.ConnIndex, delay time.Duration) error
}

// Control obeys the commands on the standard input of the process.
type Control struct {
	Input       io.Reader
	Connections Connections
	Logger      *slog.Logger
}

// Run obeys until ctx ends. The end of the input ends nothing: a supervisor may give an empty one.
func (c Control) Run(ctx context.Context) error {
	lines := make(chan string)
	go c.read(ctx, lines)
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			if !ok {
				<-ctx.Done()
				return nil
			}
			c.obey(ctx, line)
		}
	}
}

// read passes the lines on. A read of a terminal or pipe cannot be cancelled, so this goroutine outlives Run by up to one line; it
// holds nothing that others wait for.
func (c Control) read(ctx context.Context, lines chan<- string) {
	defer close(lines)
	in := bufio.NewScanner(c.Input)
	for in.Scan() {
		select {
		case lines <- in.Text():
		case <-ctx.Done():
			return
		}
	}
	c.Logger.DebugContext(ctx, "end of standard input, no more commands", slog.Any(logkey.Err, in.Err()))
}

func (c Control) obey(ctx context.Context, line string) {
	cmd, err := parseCommand(line)
	if err != nil {
		c.Logger.ErrorContext(ctx, "command on standard input refused", slog.Any(logkey.Err, err))
		return
	}
	switch cmd.action {
	case actReconnect:
		c.Logger.InfoContext(ctx, "reconnect requested on standard input", slog.Duration(logkey.Wait, cmd.delay))
		c.reconnect(ctx, cmd.delay)
	case actUnknown:
		c.Logger.WarnContext(ctx, "unknown command on standard input", slog.String(logkey.Command, line))
		c.Logger.InfoContext(ctx, controlHelp)
	case actHelp:
		c.Logger.InfoContext(ctx, controlHelp)
	case actNothing:
	}
}

// reconnect breaks one registered connection, and waits for one while there is none. Later commands wait as well.
func (c Control) reconnect(ctx context.Context, delay time.Duration) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		registered := c.Connections.Registered()
		for _, i := range rand.Perm(len(registered)) {
			if c.Connections.Reconnect(registered[i], delay) == nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
