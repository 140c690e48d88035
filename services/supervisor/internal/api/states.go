package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// maxCounted bounds the tunnels whose slots are read for the status of the deployment.
const maxCounted = 500

func windowOf(c echo.Context) (opsapi.Window, error) {
	w, err := opsapi.ParseWindow(c.QueryParam("limit"), c.QueryParam("cursor"))
	if err != nil {
		return w, badRequest(err)
	}
	return w, nil
}

func keyOf(d plan.Desired) string { return d.Tunnel.String() }

// paged reads the window of the tunnels with their slots, and shows each.
func paged(ctx context.Context, r *reading, win opsapi.Window, show func(w *world, d plan.Desired, t table)) (next string, err error) {
	w, err := r.world(ctx)
	if err != nil {
		return "", err
	}
	page, next := opsapi.Cut(w.tunnels, keyOf, win)
	for _, d := range page {
		t, err := r.slots(ctx, d.Tunnel)
		if err != nil {
			return "", err
		}
		show(&w, d, t)
	}
	return next, nil
}

func (a *API) tunnels(c echo.Context) error {
	win, err := windowOf(c)
	if err != nil {
		return err
	}
	out, r := opsapi.Tunnels{Items: []opsapi.Tunnel{}}, &reading{a: a}
	out.NextCursor, err = paged(c.Request().Context(), r, win, func(w *world, d plan.Desired, t table) {
		out.Items = append(out.Items, w.tunnelOf(d, t).Tunnel)
	})
	if err != nil {
		return err
	}
	out.StaleSince = r.since(c)
	return c.JSON(http.StatusOK, out)
}

func (a *API) connectors(c echo.Context) error {
	win, err := windowOf(c)
	if err != nil {
		return err
	}
	out, r := opsapi.Connectors{Items: []opsapi.Connector{}}, &reading{a: a}
	out.NextCursor, err = paged(c.Request().Context(), r, win, func(w *world, d plan.Desired, t table) {
		if !t.connector.IsZero() {
			out.Items = append(out.Items, connectorOf(w.tunnelOf(d, t), t.connector))
		}
	})
	if err != nil {
		return err
	}
	out.StaleSince = r.since(c)
	return c.JSON(http.StatusOK, out)
}

func (a *API) tunnel(c echo.Context) error {
	id, err := tunnelOf(c)
	if err != nil {
		return err
	}
	ctx, r := c.Request().Context(), &reading{a: a}
	w, err := r.world(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(w.tunnels, func(d plan.Desired) bool { return d.Tunnel == id })
	t, err := r.slots(ctx, id)
	if err != nil {
		return err
	}
	d := plan.Desired{Tunnel: id}
	switch {
	case i >= 0:
		d = w.tunnels[i]
	case t.connector.IsZero():
		return fmt.Errorf("tunnel %s: %w", id, tunnel.ErrNotFound)
	}
	out := w.tunnelOf(d, t)
	out.StaleSince = r.since(c)
	return c.JSON(http.StatusOK, out)
}

// slots responds with a page of slots. The page begins in the tunnel of the cursor, so that no more tunnels are read than it shows.
func (a *API) slots(c echo.Context) error {
	win, err := windowOf(c)
	if err != nil {
		return err
	}
	only, err := onlyTunnel(c)
	if err != nil {
		return err
	}
	ctx, r := c.Request().Context(), &reading{a: a}
	view := a.View()
	out := opsapi.Slots{Items: []opsapi.Slot{}, Leading: view.Leading, Fresh: view.Fresh, Connectors: []opsapi.ConnectorView{}}
	if !win.Began && only.IsZero() {
		out.Connectors = viewsOf(view.Connectors)
	}
	w, err := r.world(ctx)
	if errors.Is(err, tunnel.ErrUnavailable) && len(out.Connectors) > 0 { // the planner's own knowledge needs no store
		return c.JSON(http.StatusOK, out)
	}
	if err != nil {
		return err
	}
	all := []opsapi.Slot{}
	for _, d := range w.tunnels {
		if !only.IsZero() && d.Tunnel != only || win.Began && slotKey(d.Tunnel, maxIndex) <= win.After {
			continue
		}
		if len(all) > win.Limit+int(maxIndex)+1 { // the tunnel of the cursor may have had all its slots on the page before
			break
		}
		t, err := r.slots(ctx, d.Tunnel)
		if err != nil {
			return err
		}
		all = append(all, w.slotsOf(t)...)
	}
	out.Items, out.NextCursor = opsapi.Cut(all, func(s opsapi.Slot) string { return slotKey(s.Tunnel, s.Index) }, win)
	out.StaleSince = r.since(c)
	return c.JSON(http.StatusOK, out)
}

// maxIndex is the highest connection index.
const maxIndex tunnel.ConnIndex = 254

// onlyTunnel is the tunnel that the query names, or zero.
func onlyTunnel(c echo.Context) (tunnel.ID, error) {
	text := c.QueryParam("tunnel")
	if text == "" {
		return tunnel.ID{}, nil
	}
	id, err := tunnel.ParseID(text)
	if err != nil {
		return id, badRequest(err)
	}
	return id, nil
}

func (a *API) workers(c echo.Context) error {
	win, err := windowOf(c)
	if err != nil {
		return err
	}
	ctx, r := c.Request().Context(), &reading{a: a}
	listing, err := r.fleet(ctx)
	if err != nil {
		return err
	}
	docs, err := r.desired(ctx)
	if err != nil {
		return err
	}
	page, next := opsapi.Cut(listing.Workers, func(w fleet.Worker) string { return string(w.ID) }, win)
	out := opsapi.Workers{Items: []opsapi.Worker{}, Page: opsapi.Page{NextCursor: next}}
	for i := range page {
		out.Items = append(out.Items, workerOf(&page[i], docs.Workers[page[i].ID].Drained))
	}
	out.StaleSince = r.since(c)
	return c.JSON(http.StatusOK, out)
}

func (a *API) worker(c echo.Context) error {
	name, err := param(c, "worker")
	if err != nil {
		return err
	}
	ctx, r := c.Request().Context(), &reading{a: a}
	listing, err := r.fleet(ctx)
	if err != nil {
		return err
	}
	docs, err := r.desired(ctx)
	if err != nil {
		return err
	}
	id := tunnel.WorkerID(name)
	for i := range listing.Workers {
		if w := &listing.Workers[i]; w.ID == id {
			r.since(c)
			return c.JSON(http.StatusOK, workerOf(w, docs.Workers[id].Drained))
		}
	}
	return fmt.Errorf("worker %q: %w", id, tunnel.ErrNotFound)
}

func (a *API) proxies(c echo.Context) error {
	win, err := windowOf(c)
	if err != nil {
		return err
	}
	r := &reading{a: a}
	all, err := r.proxies(c.Request().Context())
	if err != nil {
		return err
	}
	page, next := opsapi.Cut(all, func(p fleet.Proxy) string { return string(p.ID) }, win)
	out := opsapi.Proxies{Items: []opsapi.Proxy{}, Page: opsapi.Page{NextCursor: next}}
	for _, p := range page {
		out.Items = append(out.Items, proxyOf(p))
	}
	out.StaleSince = r.since(c)
	return c.JSON(http.StatusOK, out)
}

// pools responds with the pools that tunnels use, and with the default pool.
func (a *API) pools(c echo.Context) error {
	win, err := windowOf(c)
	if err != nil {
		return err
	}
	ctx, r := c.Request().Context(), &reading{a: a}
	w, err := r.world(ctx)
	if err != nil {
		return err
	}
	names := map[string]bool{"": true}
	for _, d := range w.tunnels {
		names[d.Pool] = true
	}
	page, next := opsapi.Cut(slices.Sorted(maps.Keys(names)), func(name string) string { return name }, win)
	out := opsapi.Pools{Items: []opsapi.Pool{}, Page: opsapi.Page{NextCursor: next}}
	for _, name := range page {
		p, found, err := r.pool(ctx, name)
		if err != nil {
			return err
		}
		if found {
			out.Items = append(out.Items, poolOf(name, p))
		}
	}
	out.StaleSince = r.since(c)
	return c.JSON(http.StatusOK, out)
}

// tunnelSlots responds with the records as the store has them: who uses them to change something must not get remembered ones.
func (a *API) tunnelSlots(c echo.Context) error {
	ctx := c.Request().Context()
	id, err := tunnelOf(c)
	if err != nil {
		return err
	}
	connector, err := a.Store.Connector(ctx, id)
	if err != nil {
		return err
	}
	t, err := a.Store.Slots(ctx, id, connector)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, opsapi.TunnelSlots{Tunnel: id, Connector: connector, Slots: t.Records})
}

func (a *API) status(c echo.Context) error {
	ctx, r := c.Request().Context(), &reading{a: a}
	out := opsapi.Status{Leading: a.View().Leading}
	counts := map[opsapi.Health]int{}
	next, err := paged(ctx, r, opsapi.Window{Limit: maxCounted}, func(w *world, d plan.Desired, t table) {
		shown := w.tunnelOf(d, t).Tunnel
		counts[shown.Health]++
		out.Tunnels++
		out.Desired += shown.Desired
		out.Connected += shown.Connected
	})
	if err != nil {
		return err
	}
	listing, err := r.fleet(ctx)
	if err != nil {
		return err
	}
	proxies, err := r.proxies(ctx)
	if err != nil && !errors.Is(err, tunnel.ErrUnavailable) { // without their number the rest still counts
		return err
	}
	out.Workers, out.Proxies, out.Truncated = len(listing.Workers), len(proxies), next != ""
	out.Up = counts[opsapi.Up]
	out.Health, out.Reasons = overall(counts, out.Workers, errors.Is(r.away, tunnel.ErrUnavailable))
	out.StaleSince = r.since(c)
	return c.JSON(http.StatusOK, out)
}

// overall is the health of the deployment, and what is not as it should be.
func overall(counts map[opsapi.Health]int, workers int, away bool) (opsapi.Health, []string) {
	reasons, worst := []string{}, opsapi.Up
	if away {
		reasons, worst = append(reasons, "the store is unavailable: connections stay, and nothing is moved"), opsapi.Degraded
	}
	for _, part := range []struct {
		of, as opsapi.Health
		text   string
	}{
		{opsapi.Idle, opsapi.Degraded, "tunnels without a worker that can serve them"},
		{opsapi.Degraded, opsapi.Degraded, "tunnels with fewer connections than desired"},
		{opsapi.Down, opsapi.Down, "tunnels without any connection"},
	} {
		if n := counts[part.of]; n > 0 {
			reasons, worst = slices.Insert(reasons, 0, fmt.Sprintf("%d %s", n, part.text)), part.as
		}
	}
	if workers == 0 {
		reasons = append(reasons, "no worker is registered")
	}
	if len(counts) == 0 && worst == opsapi.Up {
		worst = opsapi.Idle
	}
	return worst, reasons
}
