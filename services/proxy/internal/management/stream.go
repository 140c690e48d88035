package management

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/logtail"
	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/websock"
)

const (
	// linesPerSecond and lineBurst bound what a stream costs a proxy under load.
	linesPerSecond = 200
	lineBurst      = 300
	// dropReports is the least time between two lines about dropped lines.
	dropReports = time.Second
	// closeTimeout is how long a client may take to receive the close frame.
	closeTimeout = 5 * time.Second
)

// logStream is a websocket on /logs whose client has shown its token.
type logStream struct {
	service *Service
	actor   string
	key     connectorKey

	ws      *websock.Messages
	pace    *rate.Limiter
	idle    *time.Timer
	queue   *logtail.Queue // nil while no lines are sent
	stop    func()         // ends the sending of lines
	told    time.Time
	leaving context.Context //nolint:containedctx // it ends with run
	leave   context.CancelCauseFunc
}

// run serves the websocket until one side closes it. An error says that it did not end in order.
func (r *logStream) run(ctx context.Context, ws *websock.Messages) error {
	r.ws, r.pace, r.stop = ws, rate.NewLimiter(linesPerSecond, lineBurst), func() {}
	r.leaving, r.leave = context.WithCancelCause(ctx)
	defer r.service.ends.add(r.leaveInOrder)()
	requests, failed := make(chan management.Request), make(chan error, 1)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	helpers.Go(func() { failed <- r.read(requests) })
	over := make(chan struct{})
	helpers.Go(func() { r.abortLate(over) })
	defer func() {
		close(over)
		r.leave(nil)
		r.stop()
		ws.Abort() // after the close frame it only ends the reading side
	}()
	r.idle = time.NewTimer(management.IdleTimeout)
	defer r.idle.Stop()
	return r.serve(requests, failed)
}

// leaveInOrder ends the stream because another one takes its place, or because the process stops.
func (r *logStream) leaveInOrder() { r.leave(nil) }

// abortLate aborts a websocket that has to end but does not, because its client takes no bytes.
func (r *logStream) abortLate(over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-r.leaving.Done():
	}
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-over:
	case <-timer.C:
		r.ws.Abort()
	}
}

// read passes the client's requests on.
func (r *logStream) read(requests chan<- management.Request) error {
	for {
		text, err := r.ws.Next()
		if err != nil {
			return err
		}
		req, err := management.ParseRequest(text)
		switch {
		case errors.Is(err, management.ErrFilters):
			return errors.Join(err, r.ws.Close(management.CloseInvalid, management.CloseInvalidText))
		case err != nil:
			return errors.Join(err, r.ws.Close(1003, err.Error()))
		}
		select {
		case requests <- req:
		case <-r.leaving.Done():
			return r.leaving.Err()
		}
	}
}

// serve waits for what comes next: a request, lines to send, or a reason to end.
func (r *logStream) serve(requests <-chan management.Request, failed <-chan error) error {
	ping := time.NewTicker(management.PingInterval)
	defer ping.Stop()
	for {
		var lines <-chan []byte
		if r.queue != nil {
			lines = r.queue.Messages()
		}
		var err error
		select {
		case <-r.leaving.Done():
			if errors.Is(context.Cause(r.leaving), errTaken) {
				return r.ws.Close(management.CloseLimit, management.CloseLimitText)
			}
			return r.ws.Close(websocket.CodeNormal, management.CloseReplacedText)
		case err := <-failed:
			var closed *websock.CloseError
			if errors.As(err, &closed) {
				return nil
			}
			return err
		case req := <-requests:
			if req.Type == management.TypeStop {
				r.pause()
				continue
			}
			if err := r.start(req.Filters); err != nil {
				return r.ws.Close(management.CloseLimit, management.CloseLimitText)
			}
		case first := <-lines:
			err = r.send(first)
		case now := <-ping.C:
			if err = r.ws.Ping(); err == nil && r.queue != nil {
				err = r.report(now)
			}
		case <-r.idle.C:
			return r.ws.Close(management.CloseIdle, management.CloseIdleText)
		}
		if err != nil {
			return err
		}
	}
}

// start begins to send lines, or changes the filters. An error is errTaken.
func (r *logStream) start(filters *management.Filters) error {
	r.stop()
	r.stop = func() {}
	release, err := r.service.seats.take(r.key, r.actor, r.leaveInOrder)
	if err != nil {
		r.service.log.WarnContext(r.leaving, "log stream refused, another actor has one", slog.String(logkey.TunnelID, r.key.tunnel.String()))
		return err
	}
	if filters == nil {
		filters = &management.Filters{}
	}
	queue := logtail.NewQueue(r.key.tunnel, *filters, "")
	alone, err := r.service.share(r.leaving, fleet.Tail{
		Tunnel: r.key.tunnel, Connector: r.key.connector, Actor: r.actor, Filters: *filters,
	}, queue, r.leave)
	if err != nil {
		release()
		return err
	}
	r.idle.Stop()
	r.queue = queue
	deaf := func() {}
	if r.service.tap != nil {
		deaf = r.service.tap.Listen(r.queue)
	}
	r.stop = func() {
		deaf()
		alone()
		release()
	}
	return nil
}

// pause ends the sending of lines. The client has some time to begin again.
func (r *logStream) pause() {
	r.stop()
	r.stop, r.queue = func() {}, nil
	r.idle.Reset(management.IdleTimeout)
}

// send sends a line and those that wait behind it, and then waits as long as the rate demands.
func (r *logStream) send(first []byte) error {
	batch := r.queue.Batch(first)
	if err := r.ws.Send(batch...); err != nil {
		return err
	}
	if now := time.Now(); now.Sub(r.told) >= dropReports {
		if err := r.report(now); err != nil {
			return err
		}
	}
	_ = r.pace.WaitN(r.leaving, len(batch)) // an end of the stream is noticed by the caller
	return nil
}

// report tells the client how many lines it did not get, if there are any.
func (r *logStream) report(now time.Time) error {
	text := r.queue.Drops(now)
	if text == nil {
		return nil
	}
	r.told = now
	return r.ws.Send(text)
}
