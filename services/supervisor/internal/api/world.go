package api

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// maxRemembered bounds what is kept for the time of an outage: one entry for each tunnel and pool, and a few more.
const maxRemembered = 4096

// staleHeader says since when a response may be out of date.
const staleHeader = "Culvert-Stale-Since"

// memory is what was read last of the store.
type memory struct {
	mu      sync.Mutex
	entries map[string]remembered
}

type remembered struct {
	value any
	at    time.Time
}

func (m *memory) put(key string, value any, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries == nil {
		m.entries = map[string]remembered{}
	}
	if _, known := m.entries[key]; known || len(m.entries) < maxRemembered {
		m.entries[key] = remembered{value, now}
	}
}

func (m *memory) get(key string) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, found := m.entries[key]
	return e, found
}

// reading is one request's view of the store. After a call that the store did not respond to, it makes no more.
type reading struct {
	a *API
	// away is the error of that call; stale is the time of the oldest part that was remembered instead.
	away  error
	stale time.Time
}

// read calls the store and remembers the value, or gives what was remembered while the store is unavailable.
func read[T any](r *reading, key string, call func() (T, error)) (T, error) {
	var value T
	err := r.away
	if err == nil {
		value, err = call()
	}
	switch {
	case err == nil, errors.Is(err, tunnel.ErrNotFound): // what does not exist is the zero value
		r.a.memory.put(key, value, time.Now())
		return value, nil
	case !errors.Is(err, tunnel.ErrUnavailable):
		return value, err
	}
	r.away = err
	old, found := r.a.memory.get(key)
	if !found {
		return value, err
	}
	if r.stale.IsZero() || old.at.Before(r.stale) {
		r.stale = old.at.UTC().Truncate(time.Millisecond)
	}
	value, _ = old.value.(T) // a key has one type
	return value, nil
}

// since is the time as of which the response is, zero for now. It also goes into a header.
func (r *reading) since(c echo.Context) time.Time {
	if !r.stale.IsZero() {
		c.Response().Header().Set(staleHeader, r.stale.Format(time.RFC3339Nano))
	}
	return r.stale
}

// readable drops the error of records that cannot be read: they hide no others.
func readable[T any](value T, err error) (T, error) {
	if err != nil && !errors.Is(err, tunnel.ErrUnavailable) {
		err = nil
	}
	return value, err
}

func (r *reading) fleet(ctx context.Context) (fleet.Listing, error) {
	return read(r, "fleet", func() (fleet.Listing, error) { return readable(r.a.Store.Fleet(ctx, 0)) })
}

func (r *reading) desired(ctx context.Context) (command.Read, error) {
	return read(r, "desired", func() (command.Read, error) { return r.a.Store.Desired(ctx, 0) })
}

func (r *reading) proxies(ctx context.Context) ([]fleet.Proxy, error) {
	if r.a.Configurations == nil {
		return nil, nil
	}
	return read(r, "proxies", func() ([]fleet.Proxy, error) { return readable(r.a.Configurations.Proxies(ctx)) })
}

// pool is a pool, and whether there is one.
func (r *reading) pool(ctx context.Context, name string) (edgepool.Pool, bool, error) {
	p, err := read(r, "pool/"+name, func() (edgepool.Pool, error) { return r.a.Store.Pool(ctx, name) })
	return p, p.Version > 0, err
}

// table is the connector of a tunnel with its slots; the zero table if it has none yet.
type table struct {
	connector tunnel.ConnectorID
	records   []lease.Record
}

func (r *reading) slots(ctx context.Context, id tunnel.ID) (table, error) {
	return read(r, "slots/"+id.String(), func() (table, error) {
		connector, err := r.a.Store.Connector(ctx, id)
		if err != nil {
			return table{}, err
		}
		t, err := r.a.Store.Slots(ctx, id, connector)
		return table{connector: connector, records: t.Records}, err
	})
}

const (
	// refreshEvery is how often every supervisor reads what it would show while the store is unavailable, also when nobody asks.
	refreshEvery = 30 * time.Second
	// maxRefreshed bounds the tunnels whose slots it reads each time; the others follow in turn.
	maxRefreshed = 8
)

// Refresh reads what there would be to show if the store became unavailable now. Of many tunnels it reads the slots of those after the one
// with the key next, and returns the key to go on with.
func (a *API) Refresh(ctx context.Context, next string) string {
	r := &reading{a: a}
	w, err := r.world(ctx)
	if err != nil || r.away != nil {
		return next
	}
	_, _ = r.proxies(ctx) // what cannot be read now stays as it was
	page, cursor := opsapi.Cut(w.tunnels, keyOf, opsapi.Window{Began: next != "", After: next, Limit: maxRefreshed})
	for _, d := range page {
		_, _, _ = r.pool(ctx, d.Pool)
		_, _ = r.slots(ctx, d.Tunnel)
	}
	if cursor == "" {
		return ""
	}
	return keyOf(page[len(page)-1])
}

// refresh does so until ctx ends.
func (a *API) refresh(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for next := ""; ; {
		next = a.Refresh(ctx, next)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// world is what all lists of tunnels are made of.
type world struct {
	workers []fleet.Worker
	// lives are the processes of the workers by id.
	lives   map[tunnel.WorkerID]string
	tunnels []plan.Desired
}

// world reads the workers and what is desired. Tunnels that no worker can serve are in it if operators have a document for them.
func (r *reading) world(ctx context.Context) (world, error) {
	listing, err := r.fleet(ctx)
	if err != nil {
		return world{}, err
	}
	docs, err := r.desired(ctx)
	if err != nil {
		return world{}, err
	}
	w := world{workers: listing.Workers, lives: map[tunnel.WorkerID]string{}}
	for i := range w.workers {
		w.lives[w.workers[i].ID] = w.workers[i].Instance
	}
	wanted := plan.Wanted(listing.Workers, r.a.Connections)
	for id := range docs.Tunnels {
		if !slices.ContainsFunc(wanted, func(d plan.Desired) bool { return d.Tunnel == id }) {
			wanted = append(wanted, plan.Desired{Tunnel: id})
		}
	}
	w.tunnels = plan.Follow(wanted, docs.Tunnels)
	slices.SortFunc(w.tunnels, func(a, b plan.Desired) int { return bytes.Compare(a.Tunnel[:], b.Tunnel[:]) })
	return w, nil
}

// slotKey orders slots as their tunnel and index do.
func slotKey(id tunnel.ID, index tunnel.ConnIndex) string {
	return id.String() + "/" + strconv.Itoa(1000+int(index))
}
