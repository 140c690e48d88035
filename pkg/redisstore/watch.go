package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/backoff"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

const (
	// quietTime is how long a subscription may be silent before it pings the server; after the same time without a
	// response the connection is closed.
	quietTime = 15 * time.Second
	// watchRetryBase and watchRetries shape the waits between attempts to subscribe: up to 4 s.
	watchRetryBase = 250 * time.Millisecond
	watchRetries   = 4
)

// Hint wakes all watchers of the topic. Watchers that are not connected at this moment miss it.
func (s *Store) Hint(ctx context.Context, topic string) error { return s.Publish(ctx, topic, nil) }

// Publish sends a message to the subscribers of a topic. Those that are not connected at this moment miss it.
func (s *Store) Publish(ctx context.Context, topic string, message []byte) error {
	_, err := do(ctx, s, command.Publish(topic, message))
	return err
}

// Watch returns a channel that receives after hints on any of the topics, and after every subscription, the first one
// and those after an outage. Hints that arrive before the channel is read count as one. A hint may be lost: read the
// store on each, and again every few seconds. The channel is never closed; the watch ends with ctx or with Close.
func (s *Store) Watch(ctx context.Context, topics ...string) <-chan struct{} {
	wake := make(chan struct{}, 1)
	channels := make([]string, len(topics))
	for i, topic := range topics {
		channels[i] = command.HintChannel(topic)
	}
	s.start(func() {
		s.watch(ctx, channels, func(any) {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
	})
	return wake
}

// Subscribe calls deliver with each message on a topic until ctx ends or the store is closed. Messages that are sent while there is no
// connection are missed.
func (s *Store) Subscribe(ctx context.Context, topic string, deliver func(message []byte)) {
	s.start(func() {
		s.watch(ctx, []string{command.HintChannel(topic)}, func(msg any) {
			if m, ok := msg.(*redis.Message); ok {
				deliver([]byte(m.Payload))
			}
		})
	})
}

func (s *Store) watch(ctx context.Context, channels []string, notice func(msg any)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	defer close(stopped)
	s.wg.Go(func() {
		select {
		case <-s.done:
			cancel()
		case <-stopped:
		}
	})
	policy := backoff.Policy{Base: watchRetryBase, Retries: watchRetries}
	for failures := 0; ctx.Err() == nil; {
		if s.subscribed(ctx, channels, notice) {
			failures = 0
		}
		failures++
		timer := time.NewTimer(policy.Wait(failures, rand.Int64N))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// subscribed passes hints and confirmations on until the connection fails or ctx ends. It reports whether a subscription was confirmed.
func (s *Store) subscribed(ctx context.Context, channels []string, notice func(msg any)) (confirmed bool) {
	sub := s.client.Subscribe(ctx, channels...)
	// Receiving does not notice the end of ctx; closing the subscription ends it.
	ended := make(chan struct{})
	var closer sync.WaitGroup
	closer.Go(func() {
		select {
		case <-ctx.Done():
		case <-ended:
		}
		_ = sub.Close() // nothing can be done about a connection that does not close
	})
	defer closer.Wait()
	defer close(ended)

	asked := false
	for {
		msg, err := sub.ReceiveTimeout(ctx, quietTime)
		var timeout net.Error
		switch {
		case err == nil:
			asked = false
			if _, pong := msg.(*redis.Pong); pong {
				continue
			}
			confirmed = true
			notice(msg)
		case ctx.Err() == nil && !asked && errors.As(err, &timeout) && timeout.Timeout():
			asked = true
			if sub.Ping(ctx) != nil {
				return confirmed
			}
		default:
			return confirmed
		}
	}
}
