package management

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/logtail"
)

const (
	// tailTTL is how long the record of a stream outlives its proxy; it is renewed every renewEvery.
	tailTTL    = 10 * time.Second
	renewEvery = 3 * time.Second
	// removeTimeout bounds what the end of a record may take.
	removeTimeout = 2 * time.Second
)

// Store is where the processes of a connector learn of a log stream, and send their lines; *redisstore.Store is one.
type Store interface { //nolint:interfacebloat // three records' methods and three of pub/sub
	Tails(ctx context.Context) ([]fleet.Tail, error)
	PutTail(ctx context.Context, t fleet.Tail, ttl time.Duration) error
	RemoveTail(ctx context.Context, session string) error
	Hint(ctx context.Context, topic string) error
	Watch(ctx context.Context, topics ...string) <-chan struct{}
	Subscribe(ctx context.Context, topic string, deliver func(message []byte))
}

// share makes a stream known to the other processes of the connector, whose lines then come into the queue. An error is errTaken: a
// stream of another actor is open at another proxy. While the store is unavailable the stream has the lines of this process. leave ends
// the stream; its cause is errTaken or nil. The caller calls stop at the end.
func (s *Service) share(ctx context.Context, t fleet.Tail, q *logtail.Queue, leave context.CancelCauseFunc) (stop func(), err error) {
	if s.store == nil || s.tap == nil {
		return func() {}, nil
	}
	t.Session, t.Process = rand.Text(), s.tap.ID()
	all, err := s.store.Tails(ctx)
	if err == nil && !t.Claim(all) {
		return nil, errTaken
	}
	ctx, cancel := context.WithCancel(ctx)
	s.store.Subscribe(ctx, logtail.LinesTopic(t.Session), q.Forward)
	if s.store.PutTail(ctx, t, tailTTL) == nil {
		s.hint(ctx)
	}
	var keeper sync.WaitGroup
	keeper.Go(func() { s.keep(ctx, t, leave) })
	return func() {
		cancel()
		keeper.Wait()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		if s.store.RemoveTail(end, t.Session) == nil {
			s.hint(end)
		}
	}, nil
}

// keep renews the record of a stream, and ends the stream when another one has taken its place.
func (s *Service) keep(ctx context.Context, t fleet.Tail, leave context.CancelCauseFunc) {
	wake := s.store.Watch(ctx, logtail.Topic)
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-ticker.C:
		}
		all, err := s.store.Tails(ctx)
		if err != nil {
			continue // it is read again soon
		}
		switch t.Judge(all) {
		case fleet.Replaced:
			leave(nil)
			return
		case fleet.Yield:
			leave(errTaken)
			return
		case fleet.Stay:
		}
		_ = s.store.PutTail(ctx, t, tailTTL) // it is written again soon
	}
}

func (s *Service) hint(ctx context.Context) {
	if err := s.store.Hint(ctx, logtail.Topic); err != nil {
		s.log.DebugContext(ctx, "hint failed", slog.Any(logkey.Err, err)) // the record is there; others read it soon anyway
	}
}
