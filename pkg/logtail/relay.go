package logtail

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
)

const (
	// Topic is the topic of hints that a log stream began or ended; LinesTopic makes the one of its lines.
	Topic = "tails"
	// readEvery is how often the store is read without a hint.
	readEvery = 10 * time.Second
	// relayedPerSecond and relayBurst bound the lines that a process publishes for one stream.
	relayedPerSecond = 200
	relayBurst       = 200
	dropReports      = time.Second
)

// LinesTopic is the topic of the lines for a log stream.
func LinesTopic(session string) string { return "tail/" + session }

// Store is where processes meet; *redisstore.Store is one.
type Store interface {
	// Tails lists the log streams that are open.
	Tails(ctx context.Context) ([]fleet.Tail, error)
	// Publish sends a message to the subscribers of a topic.
	Publish(ctx context.Context, topic string, message []byte) error
	// Watch gives a channel that receives after hints on the topics.
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// Relay publishes the lines of this process for the log streams of other processes.
type Relay struct {
	store Store
	tap   *telemetry.Tap
	name  string
}

// NewRelay makes the relay of a process. A logger without a tap has no lines to publish. name is a field of the lines.
func NewRelay(store Store, log *slog.Logger, name string) *Relay {
	return &Relay{store: store, tap: telemetry.TapOf(log), name: name}
}

// Run publishes lines until ctx ends. While the store is unavailable it goes on with the streams that it knows.
func (r *Relay) Run(ctx context.Context) error {
	if r.tap == nil {
		<-ctx.Done()
		return nil
	}
	running := map[string]context.CancelFunc{}
	var senders sync.WaitGroup
	defer senders.Wait()
	wake := r.store.Watch(ctx, Topic)
	ticker := time.NewTicker(readEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil // the senders end with ctx
		case <-wake:
		case <-ticker.C:
		}
		tails, err := r.store.Tails(ctx)
		if err != nil {
			continue // it is read again soon
		}
		wanted := map[string]bool{}
		for _, t := range tails {
			if t.Process == r.tap.ID() {
				continue
			}
			wanted[t.Session] = true
			if running[t.Session] == nil {
				sending, stop := context.WithCancel(ctx)
				running[t.Session] = stop
				senders.Go(func() { r.send(sending, t) })
			}
		}
		for session, stop := range running {
			if !wanted[session] {
				stop()
				delete(running, session)
			}
		}
	}
}

// send publishes lines for one stream until ctx ends.
func (r *Relay) send(ctx context.Context, t fleet.Tail) {
	q := NewQueue(t.Tunnel, t.Filters, r.name)
	defer r.tap.Listen(q)()
	pace := rate.NewLimiter(relayedPerSecond, relayBurst)
	topic := LinesTopic(t.Session)
	report := time.NewTicker(dropReports)
	defer report.Stop()
	for {
		var batch [][]byte
		select {
		case <-ctx.Done():
			return
		case first := <-q.Messages():
			batch = q.Batch(first)
		case now := <-report.C:
			drops := q.Drops(now)
			if drops == nil {
				continue
			}
			batch = [][]byte{drops}
		}
		_ = r.store.Publish(ctx, topic, management.Joined(batch)) // a store that is away gets no lines
		_ = pace.WaitN(ctx, len(batch))                           // an end of ctx is noticed above
	}
}
