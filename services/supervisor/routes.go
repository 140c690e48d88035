package supervisor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/supervisor/opsclient"
)

// markTries is how often a mark is set that others change at the same time.
const markTries = 4

// Routes adds the supervisor's own endpoints.
func (s *Service) Routes(g *echo.Group) {
	g.GET("/slots", s.slots)
	g.GET("/tunnels/:tunnel/slots", s.tunnelSlots)
	g.GET("/desired", s.desired)
	g.GET("/desired/:tunnel", s.tunnelDesired)
	g.PUT("/desired/:tunnel", s.setDesired)
	g.PUT("/workers/:worker/drain", s.drain)
	g.POST("/commands", s.submit)
	g.GET("/commands/:id", s.command)
	g.GET("/tunnels/:tunnel/config", s.configurations)
	g.PUT("/tunnels/:tunnel/config", s.setConfiguration)
	g.POST("/tunnels/:tunnel/config/document", s.configuration)
}

// badRequest is the error for a request that cannot be read.
func badRequest(err error) error { return echo.NewHTTPError(http.StatusBadRequest, err.Error()) }

func tunnelOf(c echo.Context) (tunnel.ID, error) {
	id, err := tunnel.ParseID(c.Param("tunnel"))
	if err != nil {
		return id, badRequest(err)
	}
	return id, nil
}

// bodyOf reads the body of a request, as far as it can be valid.
func bodyOf(c echo.Context) ([]byte, error) { return readBody(c, desired.MaxBytes) }

// readBody reads the body of a request, and one byte more than most allows.
func readBody(c echo.Context, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(c.Request().Body, most+1))
	if err != nil {
		return nil, badRequest(err)
	}
	return b, nil
}

// changed wakes the supervisor that plans. One that misses the hint reads within a second.
func (s *Service) changed(ctx context.Context) {
	_ = s.store.MarkDesired(ctx)
}

func (s *Service) desired(c echo.Context) error {
	read, err := s.store.Desired(c.Request().Context(), 0)
	if err != nil {
		return err
	}
	out := opsclient.Desired{
		Version: read.Version, Tunnels: []opsclient.Tunnel{}, Workers: []opsclient.Worker{}, Commands: []opsclient.Command{},
		Damaged: read.Damaged,
	}
	for id, d := range read.Tunnels {
		out.Tunnels = append(out.Tunnels, opsclient.Tunnel{ID: id, Document: d})
	}
	for id, m := range read.Workers {
		out.Workers = append(out.Workers, opsclient.Worker{ID: id, Mark: m})
	}
	for _, k := range read.Commands {
		out.Commands = append(out.Commands, document(k))
	}
	slices.SortFunc(out.Tunnels, func(a, b opsclient.Tunnel) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	slices.SortFunc(out.Workers, func(a, b opsclient.Worker) int { return cmp.Compare(a.ID, b.ID) })
	return c.JSON(http.StatusOK, out)
}

func (s *Service) tunnelDesired(c echo.Context) error {
	id, err := tunnelOf(c)
	if err != nil {
		return err
	}
	read, err := s.store.Desired(c.Request().Context(), 0)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, opsclient.Tunnel{ID: id, Document: read.Tunnels[id]})
}

func (s *Service) setDesired(c echo.Context) error {
	ctx := c.Request().Context()
	id, err := tunnelOf(c)
	if err != nil {
		return err
	}
	b, err := bodyOf(c)
	if err != nil {
		return err
	}
	change, err := desired.ParseChange(b)
	if err != nil {
		return badRequest(err)
	}
	read, err := s.store.Desired(ctx, 0)
	if err != nil {
		return err
	}
	poolChanges := !read.Tunnels[id].SamePool(change.Spec) // of the version that is expected: the store compares it
	version, err := s.store.SetDesired(ctx, id, *change.Version, change.Spec, change.Author, poolChanges)
	if err != nil {
		return err
	}
	s.changed(ctx)
	s.log.InfoContext(ctx, "desired state changed", slog.String(logkey.TunnelID, id.String()), slog.Uint64(logkey.Version, version),
		slog.String(logkey.Author, change.Author))
	if read, err = s.store.Desired(ctx, 0); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, opsclient.Tunnel{ID: id, Document: read.Tunnels[id]})
}

func (s *Service) drain(c echo.Context) error {
	ctx, id := c.Request().Context(), tunnel.WorkerID(c.Param("worker"))
	b, err := bodyOf(c)
	if err != nil {
		return err
	}
	change, err := desired.ParseMarkChange(b)
	if err != nil {
		return badRequest(err)
	}
	if *change.Drained {
		listing, err := s.store.Fleet(ctx, 0)
		if errors.Is(err, tunnel.ErrUnavailable) {
			return err
		}
		if !slices.ContainsFunc(listing.Workers, func(w fleet.Worker) bool { return w.ID == id }) {
			return fmt.Errorf("worker %q: %w", id, tunnel.ErrNotFound)
		}
	}
	mark, err := s.mark(ctx, id, change)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, opsclient.Worker{ID: id, Mark: mark})
}

// mark drains a worker or ends that. What is so already stays as it is.
func (s *Service) mark(ctx context.Context, id tunnel.WorkerID, change desired.MarkChange) (m desired.Mark, err error) {
	for range markTries {
		read, err := s.store.Desired(ctx, 0)
		if err != nil {
			return m, err
		}
		if m = read.Workers[id]; m.Drained == *change.Drained {
			return m, nil
		}
		version, err := s.store.SetDrained(ctx, id, m.Version, *change.Drained, change.Author)
		switch {
		case err == nil:
			s.changed(ctx)
			s.log.InfoContext(ctx, "drain of a worker changed", slog.String(logkey.WorkerID, string(id)),
				slog.Bool(logkey.Drained, *change.Drained), slog.String(logkey.Author, change.Author))
			return desired.Mark{Drained: *change.Drained, Version: version, Author: change.Author, Changed: time.Now().UTC()}, nil
		case !errors.Is(err, tunnel.ErrConflict):
			return m, err
		}
	}
	return m, fmt.Errorf("worker %q: %w: its mark changes all the time", id, tunnel.ErrConflict)
}

func (s *Service) submit(c echo.Context) error {
	b, err := bodyOf(c)
	if err != nil {
		return err
	}
	command, ttl, err := desired.ParseSubmission(b)
	if err != nil {
		return badRequest(err)
	}
	status, err := s.store.Submit(c.Request().Context(), command, ttl)
	if err != nil {
		return err
	}
	s.changed(c.Request().Context())
	return c.JSON(http.StatusAccepted, document(status))
}

func (s *Service) command(c echo.Context) error {
	status, err := s.store.Result(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, document(status))
}

func document(s desired.Status) opsclient.Command {
	out := opsclient.Command{Command: s.Command, Result: s.Result}
	if s.Outcome == desired.Pending {
		out.Expires = time.Now().Add(s.Remaining).UTC().Truncate(time.Millisecond)
	}
	return out
}

func (s *Service) tunnelSlots(c echo.Context) error {
	ctx := c.Request().Context()
	id, err := tunnelOf(c)
	if err != nil {
		return err
	}
	connector, err := s.store.Connector(ctx, id)
	if err != nil {
		return err
	}
	table, err := s.store.Slots(ctx, id, connector)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, opsclient.Slots{Tunnel: id, Connector: connector, Slots: table.Records})
}
