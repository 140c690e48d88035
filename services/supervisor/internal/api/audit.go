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
	// maxAudit is how many changes the audit log keeps.
	maxAudit = 1000
	// maxNoted bounds what is noted of a thing before or after a change, in bytes.
	maxNoted = 8 << 10
	// journalTimeout bounds the writing of an entry, which goes on when the client has gone.
	journalTimeout = 2 * time.Second
	keyNote        = "culvert.change"
)

// noted is a thing before and after a change.
type noted struct{ before, after any }

// note says for the audit log what a change changed; nil is nothing. Neither may hold a secret.
func note(c echo.Context, before, after any) {
	if n, ok := c.Get(keyNote).(*noted); ok {
		n.before, n.after = before, after
	}
}

// audited writes an operation that succeeded into the audit log.
func (a *API) audited(o opsapi.Operation, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		n := &noted{}
		c.Set(keyNote, n)
		if err := next(c); err != nil {
			return err
		}
		r, who := c.Request(), ops.PrincipalOf(c)
		change := opsapi.Change{
			Time: time.Now().UTC().Truncate(time.Millisecond), Who: who.Name, Token: who.Token, Address: r.RemoteAddr, Operation: o.ID,
			Path: r.URL.Path, Status: c.Response().Status, Before: textOf(n.before), After: textOf(n.after),
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), journalTimeout)
		defer cancel()
		b, err := json.Marshal(change)
		if err == nil {
			_, err = a.Records.Append(ctx, command.Audit, string(b), maxAudit)
		}
		if err != nil {
			a.Logger.WarnContext(ctx, "change is missing in the audit log", slog.String(logkey.Kind, o.ID), slog.String(logkey.Name, who.Name),
				slog.Any(logkey.Err, err))
		}
		return nil
	}
}

// textOf is the JSON of what is noted; of what is too long only its length.
func textOf(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil || len(b) > maxNoted {
		return json.RawMessage(fmt.Sprintf(`{"omitted_bytes":%d}`, len(b)))
	}
	return b
}

func (a *API) listChanges(c echo.Context) error {
	win, err := windowOf(c)
	if err != nil {
		return err
	}
	if err := a.recorded(); err != nil {
		return err
	}
	entries, next, err := a.page(c.Request().Context(), command.Audit, win)
	if err != nil {
		return err
	}
	out := opsapi.Changes{Items: []opsapi.Change{}, Page: opsapi.Page{NextCursor: next}}
	for _, e := range entries {
		var change opsapi.Change
		if json.Unmarshal([]byte(e.Body), &change) == nil { // what cannot be read hides nothing else
			change.ID = e.ID
			out.Items = append(out.Items, change)
		}
	}
	return c.JSON(http.StatusOK, out)
}

// page reads a page of a journal, the newest first.
func (a *API) page(ctx context.Context, journal string, win opsapi.Window) (entries []command.Entry, next string, err error) {
	if win.Began && !command.IsEntryID(win.After) {
		return nil, "", badRequest(opsapi.ErrCursor)
	}
	entries, err = a.Records.Before(ctx, journal, win.After, win.Limit+1)
	if err != nil {
		return nil, "", err
	}
	if len(entries) > win.Limit {
		entries = entries[:win.Limit]
		next = opsapi.Cursor(entries[win.Limit-1].ID)
	}
	return entries, next, nil
}
