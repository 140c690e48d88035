package redisstore

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

const (
	embeddedName = "embedded"
	// ageEvery is how often the TTLs of keys are advanced. They only collect garbage: decisions compare deadlines.
	ageEvery = time.Second
	// sizeEvery is how often the number of keys is checked. Above manyKeys advancing their TTLs takes much CPU.
	sizeEvery = time.Minute
	manyKeys  = 10_000
)

// OpenEmbedded starts a store inside the process, for one machine where nothing is installed. It is reached through
// pipes in memory, so nobody outside the process can, and nothing of it survives the process (docs/spec/datapath.md 5).
func OpenEmbedded(ctx context.Context, logger *slog.Logger) (*Store, error) {
	server := miniredis.NewMiniRedis()
	opts := &redis.Options{
		Addr: embeddedName,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			return server.Dial()
		},
	}
	tune(opts, defaultTimeout)
	s := newStore(servers{Options: opts}, embeddedName, defaultTimeout, server.Close)
	if err := s.Ping(ctx); err != nil {
		_ = s.Close() // the ping's error says more
		return nil, fmt.Errorf("embedded store: %w", err)
	}
	s.start(func() { s.age(server, logger) })
	return s, nil
}

// age advances the TTLs by the time that has passed, which the embedded server does not do by itself.
func (s *Store) age(server *miniredis.Miniredis, logger *slog.Logger) {
	ticker := time.NewTicker(ageEvery)
	defer ticker.Stop()
	last := time.Now()
	sized := last
	warned := false
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
		}
		now := time.Now()
		server.FastForward(now.Sub(last))
		last = now
		if now.Sub(sized) < sizeEvery {
			continue
		}
		sized = now
		keys := len(server.Keys())
		if many := keys > manyKeys; many != warned {
			warned = many
			if many {
				logger.Warn("embedded store is large, use a Redis server", logkey.Keys, keys)
			}
		}
	}
}
