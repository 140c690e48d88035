package redisstore

import (
	"context"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// PutWorker writes or renews a worker's registration, which ends after ttl.
func (s *Store) PutWorker(ctx context.Context, w fleet.Worker, ttl time.Duration) error {
	r, err := command.PutWorker(w, ttl)
	return s.put(ctx, r, err)
}

// RenewWorker renews the lease of a worker, under which all its slots live, and returns which tunnels' slots changed.
func (s *Store) RenewWorker(ctx context.Context, renewal fleet.Renewal, ttl time.Duration) (fleet.Renewed, error) {
	r, err := command.RenewWorker(renewal, ttl)
	if err != nil {
		return fleet.Renewed{}, err
	}
	return do(ctx, s, r)
}

// Notify tells a worker that slots of tunnels have changed: it sees it with the next renewal of its lease, and a hint makes that soon.
func (s *Store) Notify(ctx context.Context, id tunnel.WorkerID, tunnels []tunnel.ID) error {
	if _, err := do(ctx, s, command.Notify(id, tunnels)); err != nil {
		return err
	}
	return s.Hint(ctx, lease.GrantsOf(id))
}

// NewGeneration makes all workers report their slots again: the store lost data.
func (s *Store) NewGeneration(ctx context.Context) error {
	_, err := do(ctx, s, command.NewGeneration())
	return err
}

// RemoveWorker ends the registration and the lease of a worker's process. One that does not exist, or belongs to another process, is no
// error.
func (s *Store) RemoveWorker(ctx context.Context, id tunnel.WorkerID, instance string) error {
	_, err := do(ctx, s, command.RemoveWorker(id, instance))
	return err
}

// Workers lists the registrations that have not expired, by id.
func (s *Store) Workers(ctx context.Context) ([]fleet.Worker, error) {
	return do(ctx, s, command.Workers())
}

// Fleet lists the registrations of workers that have not expired, by id, and the tunnels that were marked since the version known of the
// marks; 0 is none. Records that cannot be read hide no others: the readable ones come with the error.
func (s *Store) Fleet(ctx context.Context, known uint64) (fleet.Listing, error) {
	s.fleet.Lock()
	r := s.listed.Fleet(known)
	s.fleet.Unlock()
	reply, err := s.send(ctx, r.Op, r.Command)
	if err != nil {
		return fleet.Listing{}, err
	}
	s.fleet.Lock()
	defer s.fleet.Unlock()
	return r.Decode(reply)
}

// Mark tells the supervisors that something of the tunnels changed that they have to look at: they see it when they list the workers, and a
// hint makes that soon.
func (s *Store) Mark(ctx context.Context, tunnels ...tunnel.ID) error {
	if _, err := do(ctx, s, command.Mark(tunnels)); err != nil {
		return err
	}
	return s.Hint(ctx, lease.TopicStatus)
}

// MarkDesired tells the supervisors that the desired state or the commands changed, as Mark does of tunnels.
func (s *Store) MarkDesired(ctx context.Context) error {
	if _, err := do(ctx, s, command.MarkDesired()); err != nil {
		return err
	}
	return s.Hint(ctx, lease.TopicStatus)
}

// PutProxy writes or renews a proxy's registration, which ends after ttl.
func (s *Store) PutProxy(ctx context.Context, p fleet.Proxy, ttl time.Duration) error {
	r, err := command.PutProxy(p, ttl)
	return s.put(ctx, r, err)
}

// RemoveProxy ends a proxy's registration. One that does not exist is no error.
func (s *Store) RemoveProxy(ctx context.Context, id tunnel.ProxyID) error {
	_, err := do(ctx, s, command.RemoveProxy(id))
	return err
}

// Proxies lists the registrations that have not expired, by id.
func (s *Store) Proxies(ctx context.Context) ([]fleet.Proxy, error) {
	return do(ctx, s, command.Proxies())
}

// PutTail writes or renews the record of a log stream, which ends after ttl.
func (s *Store) PutTail(ctx context.Context, t fleet.Tail, ttl time.Duration) error {
	r, err := command.PutTail(t, ttl)
	return s.put(ctx, r, err)
}

// RemoveTail ends the record of a log stream. One that does not exist is no error.
func (s *Store) RemoveTail(ctx context.Context, session string) error {
	_, err := do(ctx, s, command.RemoveTail(session))
	return err
}

// Tails lists the log streams whose records have not expired, by session.
func (s *Store) Tails(ctx context.Context) ([]fleet.Tail, error) { return do(ctx, s, command.Tails()) }

// put sends a registration, unless it could not be made.
func (s *Store) put(ctx context.Context, r command.Request[command.Done], err error) error {
	if err != nil {
		return err
	}
	_, err = do(ctx, s, r)
	return err
}
