package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
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
	shortages map[tunnel.ID]plan.Shortage
	health    health
}

func (b *board) read(ctx context.Context) (plan.World, error) {
	workers, err := b.store.Workers(ctx)
	if err != nil {
		return plan.World{}, err
	}
	world := plan.World{Workers: workers, Pools: map[string]edgepool.Pool{}, Random: mathrand.IntN}
	for _, d := range plan.Wanted(workers, b.connections) {
		if _, read := world.Pools[d.Pool]; !read {
			if world.Pools[d.Pool], err = b.pool(ctx, d.Pool); err != nil {
				return plan.World{}, err
			}
		}
		c, err := b.connector(ctx, d)
		if err != nil {
			return plan.World{}, err
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

func (b *board) connector(ctx context.Context, d plan.Desired) (plan.Connector, error) {
	id, known := b.connectors[d.Tunnel]
	var records []lease.Record
	var err error
	if known {
		if records, err = b.store.Slots(ctx, d.Tunnel, id); err != nil {
			return plan.Connector{}, err
		}
	}
	if len(records) == 0 { // new here, or forgotten by the store
		if id, err = b.ensure(ctx, d.Tunnel, id, known); err != nil {
			return plan.Connector{}, err
		}
		if records, err = b.store.Slots(ctx, d.Tunnel, id); err != nil {
			return plan.Connector{}, err
		}
	}
	proved := false
	for _, r := range records {
		proved = proved || (r.Live && r.Status.State == lease.StateConnected)
	}
	if !proved {
		if proved, err = b.store.Proved(ctx, d.Tunnel, id); err != nil {
			return plan.Connector{}, err
		}
	}
	return plan.Connector{Desired: d, ID: id, Records: records, Proved: proved}, nil
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
