package api

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// markTries is how often a mark is set that others change at the same time.
const markTries = 4

// changed wakes the supervisor that plans. One that misses the hint reads within a second.
func (a *API) changed(ctx context.Context) {
	_ = a.Store.MarkDesired(ctx)
}

func (a *API) desired(c echo.Context) error {
	read, err := a.Store.Desired(c.Request().Context(), 0)
	if err != nil {
		return err
	}
	out := opsapi.Desired{
		Version: read.Version, Tunnels: []opsapi.DesiredTunnel{}, Workers: []opsapi.WorkerMark{}, Commands: []opsapi.Command{},
		Damaged: read.Damaged,
	}
	for id, d := range read.Tunnels {
		out.Tunnels = append(out.Tunnels, opsapi.DesiredTunnel{ID: id, Document: d})
	}
	for id, m := range read.Workers {
		out.Workers = append(out.Workers, opsapi.WorkerMark{ID: id, Mark: m})
	}
	for _, k := range read.Commands {
		out.Commands = append(out.Commands, document(k))
	}
	slices.SortFunc(out.Tunnels, func(a, b opsapi.DesiredTunnel) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	slices.SortFunc(out.Workers, func(a, b opsapi.WorkerMark) int { return cmp.Compare(a.ID, b.ID) })
	return c.JSON(http.StatusOK, out)
}

func (a *API) tunnelDesired(c echo.Context) error {
	id, err := tunnelOf(c)
	if err != nil {
		return err
	}
	read, err := a.Store.Desired(c.Request().Context(), 0)
	if err != nil {
		return err
	}
	return tagged(c, read.Tunnels[id].Version, opsapi.DesiredTunnel{ID: id, Document: read.Tunnels[id]})
}

func (a *API) setDesired(c echo.Context) error {
	ctx := c.Request().Context()
	id, err := tunnelOf(c)
	if err != nil {
		return err
	}
	b, match, err := changeOf(c, maxBody)
	if err != nil {
		return err
	}
	change, err := desired.ParseChange(b)
	if err != nil {
		return badRequest(err)
	}
	read, err := a.Store.Desired(ctx, 0)
	if err != nil {
		return err
	}
	poolChanges := !read.Tunnels[id].SamePool(change.Spec) // of the version that is expected: the store compares it
	version, err := a.Store.SetDesired(ctx, id, *change.Version, change.Spec, change.Author, poolChanges)
	if err != nil {
		return match.failure(err)
	}
	a.changed(ctx)
	before := read.Tunnels[id].Spec
	a.Logger.InfoContext(ctx, "desired state changed", slog.String(logkey.TunnelID, id.String()), slog.Uint64(logkey.Version, version),
		slog.String(logkey.Author, change.Author))
	note(c, before, change.Spec)
	a.Emit(opsapi.Event{Kind: opsapi.EventDesired, Tunnel: &id, Version: version, Who: whoOf(c, change.Author)})
	if read, err = a.Store.Desired(ctx, 0); err != nil {
		return err
	}
	return tagged(c, read.Tunnels[id].Version, opsapi.DesiredTunnel{ID: id, Document: read.Tunnels[id]})
}

func (a *API) drain(c echo.Context) error {
	name, err := param(c, "worker")
	if err != nil {
		return err
	}
	b, err := bodyOf(c)
	if err != nil {
		return err
	}
	change, err := desired.ParseMarkChange(b)
	if err != nil {
		return badRequest(err)
	}
	return a.setDrain(c, tunnel.WorkerID(name), change)
}

// setDrain drains a registered worker, or ends that.
func (a *API) setDrain(c echo.Context, id tunnel.WorkerID, change desired.MarkChange) error {
	ctx := c.Request().Context()
	if *change.Drained {
		listing, err := a.Store.Fleet(ctx, 0)
		if errors.Is(err, tunnel.ErrUnavailable) {
			return err
		}
		if !slices.ContainsFunc(listing.Workers, func(w fleet.Worker) bool { return w.ID == id }) {
			return fmt.Errorf("worker %q: %w", id, tunnel.ErrNotFound)
		}
	}
	mark, err := a.mark(ctx, id, change)
	if err != nil {
		return err
	}
	note(c, nil, mark)
	detail := "serves again"
	if mark.Drained {
		detail = "drained"
	}
	a.Emit(opsapi.Event{Kind: opsapi.EventMarked, Worker: string(id), Version: mark.Version, Who: whoOf(c, change.Author), Detail: detail})
	return c.JSON(http.StatusOK, opsapi.WorkerMark{ID: id, Mark: mark})
}

// mark drains a worker or ends that. What is so already stays as it is.
func (a *API) mark(ctx context.Context, id tunnel.WorkerID, change desired.MarkChange) (m desired.Mark, err error) {
	for range markTries {
		read, err := a.Store.Desired(ctx, 0)
		if err != nil {
			return m, err
		}
		if m = read.Workers[id]; m.Drained == *change.Drained {
			return m, nil
		}
		version, err := a.Store.SetDrained(ctx, id, m.Version, *change.Drained, change.Author)
		switch {
		case err == nil:
			a.changed(ctx)
			a.Logger.InfoContext(ctx, "drain of a worker changed", slog.String(logkey.WorkerID, string(id)),
				slog.Bool(logkey.Drained, *change.Drained), slog.String(logkey.Author, change.Author))
			return desired.Mark{Drained: *change.Drained, Version: version, Author: change.Author, Changed: time.Now().UTC()}, nil
		case !errors.Is(err, tunnel.ErrConflict):
			return m, err
		}
	}
	return m, fmt.Errorf("worker %q: %w: its mark changes all the time", id, tunnel.ErrConflict)
}

func (a *API) submit(c echo.Context) error {
	b, err := bodyOf(c)
	if err != nil {
		return err
	}
	command, ttl, err := desired.ParseSubmission(b)
	if err != nil {
		return badRequest(err)
	}
	status, err := a.Store.Submit(c.Request().Context(), command, ttl)
	if err != nil {
		return full(err)
	}
	a.changed(c.Request().Context())
	note(c, nil, command)
	return c.JSON(http.StatusAccepted, document(status))
}

func (a *API) command(c echo.Context) error {
	id, err := param(c, "id")
	if err != nil {
		return err
	}
	status, err := a.Store.Result(c.Request().Context(), id)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, document(status))
}

func document(s desired.Status) opsapi.Command {
	out := opsapi.Command{Command: s.Command, Result: s.Result}
	if s.Outcome == desired.Pending {
		out.Expires = time.Now().Add(s.Remaining).UTC().Truncate(time.Millisecond)
	}
	return out
}

// full is the error of a command: of too many that wait it is the caller's.
func full(err error) error {
	if errors.Is(err, desired.ErrFull) {
		return echo.NewHTTPError(http.StatusTooManyRequests, err.Error())
	}
	return err
}
