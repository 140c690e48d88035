package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/supervisor/internal/reconcile"
)

// board reads the world from the store, and remembers what need not, or must not, be lost with it. It belongs to the
// loop of Run.
type board struct {
	store       Store
	connections int
	// connectors keeps the connector ids: a store that lost them gets the same ones back (docs/spec/lifecycle.md 14.2).
	connectors map[tunnel.ID]tunnel.ConnectorID
	// pools keeps the last good snapshot of each pool (docs/spec/lifecycle.md 14.4).
	pools     map[string]edgepool.Pool
	shortages map[tunnel.ID]reconcile.Shortage
	health    health
}

func (b *board) read(ctx context.Context) (reconcile.World, error) {
	workers, err := b.store.Workers(ctx)
	if err != nil {
		return reconcile.World{}, err
	}
	world := reconcile.World{Workers: workers, Pools: map[string]edgepool.Pool{}, Random: mathrand.IntN}
	for _, d := range reconcile.Wanted(workers, b.connections) {
		if _, read := world.Pools[d.Pool]; !read {
			if world.Pools[d.Pool], err = b.pool(ctx, d.Pool); err != nil {
				return reconcile.World{}, err
			}
		}
		c, err := b.connector(ctx, d)
		if err != nil {
			return reconcile.World{}, err
		}
		world.Connectors = append(world.Connectors, c)
	}
	return world, nil
}

func (b *board) pool(ctx context.Context, name string) (edgepool.Pool, error) {
	p, err := b.store.Pool(ctx, name)
	if errors.Is(err, tunnel.ErrNotFound) {
		return b.pools[name], nil
	}
	if err != nil {
		return edgepool.Pool{}, err
	}
	b.pools[name] = p
	return p, nil
}

func (b *board) connector(ctx context.Context, d reconcile.Desired) (reconcile.Connector, error) {
	id, known := b.connectors[d.Tunnel]
	var records []lease.Record
	var err error
	if known {
		if records, err = b.store.Slots(ctx, d.Tunnel, id); err != nil {
			return reconcile.Connector{}, err
		}
	}
	if len(records) == 0 { // new here, or forgotten by the store
		if id, err = b.ensure(ctx, d.Tunnel, id, known); err != nil {
			return reconcile.Connector{}, err
		}
		if records, err = b.store.Slots(ctx, d.Tunnel, id); err != nil {
			return reconcile.Connector{}, err
		}
	}
	proved := false
	for _, r := range records {
		proved = proved || (r.Live && r.Status.State == lease.StateConnected)
	}
	if !proved {
		if proved, err = b.store.Proved(ctx, d.Tunnel, id); err != nil {
			return reconcile.Connector{}, err
		}
	}
	return reconcile.Connector{Desired: d, ID: id, Records: records, Proved: proved}, nil
}

func (b *board) ensure(ctx context.Context, t tunnel.ID, candidate tunnel.ConnectorID, known bool) (tunnel.ConnectorID, error) {
	if !known {
		fresh, err := tunnel.NewConnectorID(rand.Reader)
		if err != nil {
			return tunnel.ConnectorID{}, fmt.Errorf("connector id: %w", err)
		}
		candidate = fresh
	}
	id, err := b.store.EnsureConnector(ctx, t, candidate)
	if err != nil {
		return tunnel.ConnectorID{}, err
	}
	b.connectors[t] = id
	return id, nil
}
