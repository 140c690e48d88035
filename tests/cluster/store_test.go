package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// cable is the store as one process reaches it. While it is cut, every call fails as with an unreachable store.
type cable struct {
	*redisstore.Store
	cut atomic.Bool
}

func (c *cable) err() error {
	if c.cut.Load() {
		return fmt.Errorf("cable is cut: %w", tunnel.ErrUnavailable)
	}
	return nil
}

func (c *cable) Pool(ctx context.Context, name string) (edgepool.Pool, error) {
	if err := c.err(); err != nil {
		return edgepool.Pool{}, err
	}
	return c.Store.Pool(ctx, name)
}

func (c *cable) TakeShare(
	ctx context.Context, role, member string, seen lease.Term, ttl time.Duration, join bool,
) (lease.Share, error) {
	if err := c.err(); err != nil {
		return lease.Share{}, err
	}
	return c.Store.TakeShare(ctx, role, member, seen, ttl, join)
}

func (c *cable) LeaveShare(ctx context.Context, role, member string) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Store.LeaveShare(ctx, role, member)
}

func (c *cable) TakeLead(ctx context.Context, role, holder string, ttl time.Duration) (bool, error) {
	if err := c.err(); err != nil {
		return false, err
	}
	return c.Store.TakeLead(ctx, role, holder, ttl)
}

func (c *cable) ResignLead(ctx context.Context, role, holder string) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Store.ResignLead(ctx, role, holder)
}

func (c *cable) RenewWorker(ctx context.Context, r fleet.Renewal, ttl time.Duration) (fleet.Renewed, error) {
	if err := c.err(); err != nil {
		return fleet.Renewed{}, err
	}
	return c.Store.RenewWorker(ctx, r, ttl)
}

func (c *cable) RemoveWorker(ctx context.Context, id tunnel.WorkerID, instance string) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Store.RemoveWorker(ctx, id, instance)
}

func (c *cable) Notify(ctx context.Context, id tunnel.WorkerID, tunnels []tunnel.ID) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Store.Notify(ctx, id, tunnels)
}

func (c *cable) NewGeneration(ctx context.Context) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Store.NewGeneration(ctx)
}

func (c *cable) Workers(ctx context.Context) ([]fleet.Worker, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	return c.Store.Workers(ctx)
}

func (c *cable) Connector(ctx context.Context, id tunnel.ID) (tunnel.ConnectorID, error) {
	if err := c.err(); err != nil {
		return tunnel.ConnectorID{}, err
	}
	return c.Store.Connector(ctx, id)
}

func (c *cable) EnsureConnector(ctx context.Context, id tunnel.ID, candidate tunnel.ConnectorID) (tunnel.ConnectorID, error) {
	if err := c.err(); err != nil {
		return tunnel.ConnectorID{}, err
	}
	return c.Store.EnsureConnector(ctx, id, candidate)
}

func (c *cable) Slots(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) (lease.Table, error) {
	if err := c.err(); err != nil {
		return lease.Table{}, err
	}
	return c.Store.Slots(ctx, id, connector)
}

func (c *cable) SlotsUnder(
	ctx context.Context, term lease.Term, id tunnel.ID, connector tunnel.ConnectorID,
) (lease.Table, error) {
	if err := c.err(); err != nil {
		return lease.Table{}, err
	}
	return c.Store.SlotsUnder(ctx, term, id, connector)
}

func (c *cable) Report(
	ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID, worker tunnel.WorkerID, instance string, reports []lease.Report,
) (lease.Table, error) {
	if err := c.err(); err != nil {
		return lease.Table{}, err
	}
	return c.Store.Report(ctx, id, connector, worker, instance, reports)
}

func (c *cable) Release(ctx context.Context, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Store.Release(ctx, slot, worker, epoch)
}

func (c *cable) Hint(ctx context.Context, topic string) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.Store.Hint(ctx, topic)
}
