package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

const (
	// maxEvents is how many events the store keeps.
	maxEvents = 10_000
	// maxWaiting bounds the events of this supervisor that wait for the store.
	maxWaiting = 1024
	// writeAgain is the pause before an event is written again that the store did not take.
	writeAgain = time.Second
	// topicEvents is hinted when an event was written.
	topicEvents = "events"
)

// Emit tells an event. It never waits: while the store is unavailable events wait for it, and of too many the last ones are dropped, which
// is told by an event of its own.
func (a *API) Emit(e opsapi.Event) {
	if a.Records == nil {
		return
	}
	e.Time, e.Supervisor = time.Now().UTC().Truncate(time.Millisecond), a.ID
	select {
	case a.waiting <- e:
	default:
		a.dropped.Add(1)
	}
}

// writeEvents writes what Emit tells until ctx ends.
func (a *API) writeEvents(ctx context.Context) {
	for {
		var e opsapi.Event
		select {
		case <-ctx.Done():
			return
		case e = <-a.waiting:
		}
		if !a.writeEvent(ctx, e) {
			return
		}
		if n := a.dropped.Swap(0); n > 0 {
			e = opsapi.Event{
				Time: time.Now().UTC().Truncate(time.Millisecond), Supervisor: a.ID, Kind: opsapi.EventDropped,
				Detail: fmt.Sprintf("%d events could not be kept while the store was unavailable", n),
			}
			if !a.writeEvent(ctx, e) {
				return
			}
		}
	}
}

// writeEvent writes an event, as often as it takes. It returns false when ctx ended first.
func (a *API) writeEvent(ctx context.Context, e opsapi.Event) bool {
	b, err := json.Marshal(e)
	if err != nil {
		a.Logger.WarnContext(ctx, "event cannot be written", slog.String(logkey.Kind, e.Kind), slog.Any(logkey.Err, err))
		return true
	}
	for {
		if _, err := a.Records.Append(ctx, command.Events, string(b), maxEvents); err == nil {
			_ = a.Store.Hint(ctx, topicEvents) // streams look again by themselves
			return true
		}
		again := time.NewTimer(writeAgain)
		select {
		case <-ctx.Done():
			again.Stop()
			return false
		case <-again.C:
		}
	}
}

// eventOf reads a stored event.
func eventOf(e command.Entry) (opsapi.Event, bool) {
	var out opsapi.Event
	if err := json.Unmarshal([]byte(e.Body), &out); err != nil {
		return out, false
	}
	out.ID = e.ID
	return out, true
}

func (a *API) listEvents(c echo.Context) error {
	win, err := windowOf(c)
	if err != nil {
		return err
	}
	if err := a.recorded(); err != nil {
		return err
	}
	entries, next, err := a.page(c.Request().Context(), command.Events, win)
	if err != nil {
		return err
	}
	out := opsapi.Events{Items: []opsapi.Event{}, Page: opsapi.Page{NextCursor: next}}
	for _, e := range entries {
		if event, ok := eventOf(e); ok { // what cannot be read hides nothing else
			out.Items = append(out.Items, event)
		}
	}
	return c.JSON(http.StatusOK, out)
}

// whoOf names who makes a request.
func whoOf(c echo.Context, author string) string {
	if who := ops.PrincipalOf(c); who.Token != "" || author == "" {
		return who.Name
	}
	return author
}
