package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

const (
	// beatEvery is how often a stream without events sends a comment, so that proxies and clients see that it lives.
	beatEvery = 15 * time.Second
	// frameTimeout bounds the writing of events.
	frameTimeout = 10 * time.Second
)

// streamEvents responds with the events as they happen (server-sent events). After a Last-Event-ID it begins with those that came since.
func (a *API) streamEvents(c echo.Context) error {
	if err := a.recorded(); err != nil {
		return err
	}
	after := c.Request().Header.Get("Last-Event-ID")
	if after == "" {
		after = c.QueryParam("after")
	}
	if after != "" && !command.IsEntryID(after) {
		return echo.NewHTTPError(http.StatusBadRequest, "Last-Event-ID: is not the id of an event")
	}
	s := a.hub.join()
	if s == nil {
		c.Response().Header().Set("Retry-After", "5")
		return echo.NewHTTPError(http.StatusTooManyRequests, "too many streams of events")
	}
	defer a.hub.leave(s)
	ctx := c.Request().Context()
	newest, err := a.Records.Before(ctx, command.Events, "", 1)
	if err != nil {
		return err
	}
	last := "0-0"
	if len(newest) > 0 {
		last = newest[0].ID
	}
	if after == "" {
		after = last
	}
	a.hub.begin(last)
	w := &eventWriter{c: c, control: http.NewResponseController(c.Response().Writer)}
	if err := w.start(); err != nil {
		return nil // the client has gone
	}
	if after, err = a.catchUp(ctx, w, after); err != nil {
		return nil // the client has gone, or comes again for the rest
	}
	select {
	case a.joined <- struct{}{}:
	default:
	}
	a.follow(ctx, w, s, after)
	return nil
}

// catchUp sends what the store has after an id, and returns the last one that was sent. What it does not have any more is told.
func (a *API) catchUp(ctx context.Context, w *eventWriter, after string) (string, error) {
	oldest, err := a.Records.After(ctx, command.Events, "", 1)
	if err != nil {
		return after, err
	}
	if after != "0-0" && len(oldest) > 0 && compareIDs(after, oldest[0].ID) < 0 {
		f, _ := frameOf(opsapi.Event{Time: time.Now().UTC(), Kind: opsapi.EventGap, Detail: "older events are not kept any more"})
		if err := w.write(f.text); err != nil {
			return after, err
		}
	}
	for {
		entries, err := a.Records.After(ctx, command.Events, after, batch)
		if err != nil || len(entries) == 0 {
			return after, err
		}
		for _, f := range framesOf(entries) {
			if err := w.write(f.text); err != nil {
				return after, err
			}
		}
		after = entries[len(entries)-1].ID
	}
}

// follow sends what the hub gives, until the stream ends. Events that were sent already are passed over.
func (a *API) follow(ctx context.Context, w *eventWriter, s *stream, after string) {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case f, open := <-s.frames:
			if !open {
				return
			}
			if compareIDs(f.id, after) <= 0 {
				continue
			}
			after = f.id
			err = w.write(f.text)
		case <-beat.C:
			if !a.still(ctx, ops.PrincipalOf(w.c)) {
				return
			}
			err = w.write([]byte(": still here\n\n"))
		}
		if err != nil {
			return
		}
	}
}

// still reports whether the token of a stream counts.
func (a *API) still(ctx context.Context, who Principal) bool {
	if who.Token == "" {
		return true
	}
	list, err := a.tokenList(ctx)
	now := time.Now()
	return err != nil || slices.ContainsFunc(list, func(t opstoken.Token) bool { return t.ID == who.Token && !t.Expired(now) })
}

// eventWriter writes a stream. The time limits of ordinary responses do not hold for it.
type eventWriter struct {
	c       echo.Context
	control *http.ResponseController
}

func (w *eventWriter) start() error {
	h := w.c.Response().Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	_ = w.control.SetReadDeadline(time.Time{}) // a recorder of a test has none
	w.c.Response().WriteHeader(http.StatusOK)
	return w.write([]byte("retry: 1000\n\n"))
}

func (w *eventWriter) write(text []byte) error {
	_ = w.control.SetWriteDeadline(time.Now().Add(frameTimeout)) // a recorder of a test has none
	if _, err := w.c.Response().Write(text); err != nil {
		return err
	}
	return w.control.Flush()
}
