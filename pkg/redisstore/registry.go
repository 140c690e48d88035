package redisstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// PutWorker writes or renews a worker's registration, which ends after ttl.
func (s *Store) PutWorker(ctx context.Context, w fleet.Worker, ttl time.Duration) error {
	return s.put(ctx, workers, string(w.ID), w, ttl)
}

// RemoveWorker ends a worker's registration. One that does not exist is no error.
func (s *Store) RemoveWorker(ctx context.Context, id tunnel.WorkerID) error {
	return s.remove(ctx, workers, string(id))
}

// Workers lists the registrations that have not expired, by id.
func (s *Store) Workers(ctx context.Context) ([]fleet.Worker, error) {
	found, err := list[fleet.Worker](ctx, s, workers)
	slices.SortFunc(found, func(a, b fleet.Worker) int { return cmp.Compare(a.ID, b.ID) })
	return found, err
}

// PutProxy writes or renews a proxy's registration, which ends after ttl.
func (s *Store) PutProxy(ctx context.Context, p fleet.Proxy, ttl time.Duration) error {
	return s.put(ctx, proxies, string(p.ID), p, ttl)
}

// RemoveProxy ends a proxy's registration. One that does not exist is no error.
func (s *Store) RemoveProxy(ctx context.Context, id tunnel.ProxyID) error {
	return s.remove(ctx, proxies, string(id))
}

// Proxies lists the registrations that have not expired, by id.
func (s *Store) Proxies(ctx context.Context) ([]fleet.Proxy, error) {
	found, err := list[fleet.Proxy](ctx, s, proxies)
	slices.SortFunc(found, func(a, b fleet.Proxy) int { return cmp.Compare(a.ID, b.ID) })
	return found, err
}

// PutTail writes or renews the record of a log stream, which ends after ttl.
func (s *Store) PutTail(ctx context.Context, t fleet.Tail, ttl time.Duration) error {
	return s.put(ctx, tails, t.Session, t, ttl)
}

// RemoveTail ends the record of a log stream. One that does not exist is no error.
func (s *Store) RemoveTail(ctx context.Context, session string) error {
	return s.remove(ctx, tails, session)
}

// Tails lists the log streams whose records have not expired, by session.
func (s *Store) Tails(ctx context.Context) ([]fleet.Tail, error) {
	found, err := list[fleet.Tail](ctx, s, tails)
	slices.SortFunc(found, func(a, b fleet.Tail) int { return cmp.Compare(a.Session, b.Session) })
	return found, err
}

func (s *Store) put(ctx context.Context, kind, id string, record any, ttl time.Duration) error {
	op := "register " + kind
	if id == "" {
		return fmt.Errorf("%s: empty id", op)
	}
	body, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, id, err)
	}
	return s.call(ctx, op, s.scripts.put, registryKeys(kind), id, millis(ttl), string(body)).Err()
}

func (s *Store) remove(ctx context.Context, kind, id string) error {
	return s.call(ctx, "remove "+kind, s.scripts.remove, registryKeys(kind), id).Err()
}

func list[T any](ctx context.Context, s *Store, kind string) ([]T, error) {
	op := "list " + kind
	bodies, err := s.call(ctx, op, s.scripts.list, registryKeys(kind)).StringSlice()
	if err != nil {
		return nil, err
	}
	found := make([]T, len(bodies))
	for i, body := range bodies {
		if err := json.Unmarshal([]byte(body), &found[i]); err != nil {
			return nil, fmt.Errorf("%s: stored record: %w", op, err)
		}
	}
	return found, nil
}
