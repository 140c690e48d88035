package api

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// decode reads a body that may be empty. Fields that the operation does not know are errors.
func decode(c echo.Context, into any) error {
	b, err := bodyOf(c)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badRequest(errors.New(strings.TrimPrefix(err.Error(), "json: ")))
	}
	if d.More() {
		return badRequest(errors.New("there is more after the document"))
	}
	return nil
}

func checked(author string) error {
	if err := desired.CheckAuthor(author); err != nil {
		return badRequest(err)
	}
	return nil
}

func (a *API) drainWorker(drained bool) echo.HandlerFunc {
	return func(c echo.Context) error {
		name, err := param(c, "worker")
		if err != nil {
			return err
		}
		var in opsapi.Author
		if err := decode(c, &in); err != nil {
			return err
		}
		if err := checked(in.Author); err != nil {
			return err
		}
		return a.setDrain(c, tunnel.WorkerID(name), desired.MarkChange{Drained: &drained, Author: in.Author})
	}
}

func (a *API) pause(paused bool) echo.HandlerFunc {
	return func(c echo.Context) error {
		var in opsapi.Author
		if err := decode(c, &in); err != nil {
			return err
		}
		return a.reshape(c, in.Author, func(s *desired.Spec) { s.Paused = paused })
	}
}

func (a *API) scale(c echo.Context) error {
	var in opsapi.Scale
	if err := decode(c, &in); err != nil {
		return err
	}
	if in.Connections == 0 {
		return badRequest(errors.New("connections: is missing; to end all connections pause the tunnel"))
	}
	return a.reshape(c, in.Author, func(s *desired.Spec) { s.Connections = in.Connections })
}

// reshape changes a part of what is desired of a tunnel. When somebody else changes the document at the same time, the change is made again
// from theirs.
func (a *API) reshape(c echo.Context, author string, change func(s *desired.Spec)) error {
	ctx := c.Request().Context()
	id, err := tunnelOf(c)
	if err != nil {
		return err
	}
	if err := checked(author); err != nil {
		return err
	}
	w, err := (&reading{a: a}).world(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(w.tunnels, func(d plan.Desired) bool { return d.Tunnel == id }) {
		return fmt.Errorf("tunnel %s: %w", id, tunnel.ErrNotFound)
	}
	for range markTries {
		read, err := a.Store.Desired(ctx, 0)
		if err != nil {
			return err
		}
		now := read.Tunnels[id]
		spec := now.Spec
		change(&spec)
		if err := spec.Validate(); err != nil {
			return badRequest(err)
		}
		if reflect.DeepEqual(spec, now.Spec) {
			return tagged(c, now.Version, opsapi.DesiredTunnel{ID: id, Document: now})
		}
		version, err := a.Store.SetDesired(ctx, id, now.Version, spec, author, false)
		if errors.Is(err, tunnel.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		a.changed(ctx)
		a.Logger.InfoContext(ctx, "desired state changed", slog.String(logkey.TunnelID, id.String()), slog.Uint64(logkey.Version, version),
			slog.String(logkey.Author, author))
		note(c, now.Spec, spec)
		a.Emit(opsapi.Event{Kind: opsapi.EventDesired, Tunnel: &id, Version: version, Who: whoOf(c, author)})
		made := desired.Document{Spec: spec, Version: version, Author: author, Changed: time.Now().UTC().Truncate(time.Millisecond)}
		if now.Version > 0 {
			made.Former = &now.Spec
		}
		return tagged(c, version, opsapi.DesiredTunnel{ID: id, Document: made})
	}
	return fmt.Errorf("tunnel %s: %w: its document changes all the time", id, tunnel.ErrConflict)
}

// order submits a command for one slot, under its present epoch unless the request names one.
func (a *API) order(kind desired.Kind) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx := c.Request().Context()
		command, ttl, err := orderOf(c, kind)
		if err != nil {
			return err
		}
		if command.Epoch == 0 {
			connector, err := a.Store.Connector(ctx, command.Tunnel)
			if err != nil {
				return err
			}
			t, err := a.Store.Slots(ctx, command.Tunnel, connector)
			if err != nil {
				return err
			}
			i := slices.IndexFunc(t.Records, func(r lease.Record) bool { return r.Slot.Index == command.Index })
			if i < 0 {
				return fmt.Errorf("slot %d of tunnel %s: %w", command.Index, command.Tunnel, tunnel.ErrNotFound)
			}
			command.Epoch = t.Records[i].Epoch
		}
		if err := command.Validate(); err != nil {
			return badRequest(err)
		}
		status, err := a.Store.Submit(ctx, command, ttl)
		if err != nil {
			return full(err)
		}
		a.changed(ctx)
		note(c, nil, command)
		return c.JSON(http.StatusAccepted, document(status))
	}
}

func orderOf(c echo.Context, kind desired.Kind) (desired.Command, time.Duration, error) {
	out := desired.Command{ID: strings.ToLower(rand.Text()), Kind: kind}
	id, err := tunnelOf(c)
	if err != nil {
		return out, 0, err
	}
	index, err := strconv.ParseUint(c.Param("index"), 10, 8)
	if err != nil {
		return out, 0, badRequest(fmt.Errorf("index: %q is not a number from 0 to 254", c.Param("index")))
	}
	var in opsapi.SlotAction
	if err := decode(c, &in); err != nil {
		return out, 0, err
	}
	ttl := desired.DefaultTTL
	if in.TTL != "" {
		if ttl, err = time.ParseDuration(in.TTL); err != nil {
			return out, 0, badRequest(fmt.Errorf("ttl: %q is not a duration such as 30s", in.TTL))
		}
		if err := desired.CheckTTL(ttl); err != nil {
			return out, 0, badRequest(err)
		}
	}
	if in.Edge != "" {
		if out.Edge, err = netip.ParseAddrPort(in.Edge); err != nil {
			return out, 0, badRequest(fmt.Errorf("edge_addr: %q is not IP:PORT", in.Edge))
		}
	}
	out.Tunnel, out.Index, out.Epoch = id, tunnel.ConnIndex(index), tunnel.Epoch(in.Epoch)
	out.Worker, out.Author = tunnel.WorkerID(in.Worker), in.Author
	return out, ttl, nil
}
