package redisstore

import (
	"context"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Slots reads every slot of a connector that was ever granted, by index.
func (s *Store) Slots(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) (lease.Table, error) {
	return do(ctx, s, command.Slots(id, connector))
}

// SlotsUnder is Slots for a leader: it raises the connector's fence to the term, so that grants of former leaders are refused. A
// lease.OvertakenError says that a newer leader did so before.
func (s *Store) SlotsUnder(
	ctx context.Context, term lease.Term, id tunnel.ID, connector tunnel.ConnectorID,
) (lease.Table, error) {
	return do(ctx, s, command.SlotsUnder(term, id, connector))
}

// Grant is GrantUnder without a lead: the store refuses it for a connector that a leader has ever read. Tests make their slots with it.
func (s *Store) Grant(ctx context.Context, g lease.Grant, expect tunnel.Epoch, ttl time.Duration) (lease.Grant, error) {
	return s.GrantUnder(ctx, 0, g, expect, ttl)
}

// GrantUnder gives a slot to g.Worker under a new epoch, if the stored epoch still is expect (0: never granted). g.Wait is the
// wait that the caller requests; the returned one is what the holder must wait, the connector's registration bucket included.
// tunnel.ErrConflict says that another grant came first, or which slot holds the edge address; tunnel.ErrNoAddress that
// g names none; a lease.OvertakenError that a leader with a newer term is in charge. A live slot may be granted: that is how it moves.
// Slots that have ended do not hold their addresses any more.
func (s *Store) GrantUnder(
	ctx context.Context, term lease.Term, g lease.Grant, expect tunnel.Epoch, ttl time.Duration, ended ...lease.Ended,
) (lease.Grant, error) {
	r, err := command.GrantUnder(term, g, expect, ttl, ended...)
	if err != nil {
		return lease.Grant{}, err
	}
	return do(ctx, s, r)
}

// Renew renews the leases that worker reports, writes what it reports of them, and returns every slot of the connector.
// A report with an older epoch than the stored one changes nothing; the records show the newer one. A report with a higher epoch claims
// its slot, which the store must have lost. Without reports it only reads. One call serves all slots of a worker's connector.
func (s *Store) Renew(
	ctx context.Context,
	id tunnel.ID,
	connector tunnel.ConnectorID,
	worker tunnel.WorkerID,
	reports []lease.Report,
	ttl time.Duration,
) (lease.Table, error) {
	r, err := command.Renew(id, connector, worker, reports, ttl)
	if err != nil {
		return lease.Table{}, err
	}
	return do(ctx, s, r)
}

// Report is Renew for a process that keeps the lease of its whole worker (RenewWorker): the slots live as long as that one.
func (s *Store) Report(
	ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID, worker tunnel.WorkerID, instance string, reports []lease.Report,
) (lease.Table, error) {
	r, err := command.Report(id, connector, worker, instance, reports)
	if err != nil {
		return lease.Table{}, err
	}
	return do(ctx, s, r)
}

// Release frees a slot that worker holds with epoch; freeing it again is no error. tunnel.ErrFenced says that a newer
// epoch or another worker has it, tunnel.ErrNotFound that the store knows no such grant.
func (s *Store) Release(ctx context.Context, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) error {
	_, err := do(ctx, s, command.Release(slot, worker, epoch))
	return err
}

// ReleaseUnder is Release for a leader. A lease.OvertakenError says that one with a newer term than the caller's is in charge.
func (s *Store) ReleaseUnder(
	ctx context.Context, term lease.Term, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch,
) error {
	_, err := do(ctx, s, command.ReleaseUnder(term, slot, worker, epoch))
	return err
}

// Proved reports whether a connection of the connector was live within lease.ProvedTTL: the first-connection gate.
func (s *Store) Proved(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) (bool, error) {
	return do(ctx, s, command.Proved(id, connector))
}
