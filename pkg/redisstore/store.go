package redisstore

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Store is a connection to the shared state.
type Store struct {
	client  redis.UniversalClient
	form    form
	scripts map[string]*redis.Script
	// name is the server's address as errors show it: never with a password.
	name    string
	timeout time.Duration
	// onClose ends what was started with the store, after its client is closed.
	onClose func()
	done    chan struct{}
	wg      sync.WaitGroup

	// fleet protects listed, the workers that Fleet listed last.
	fleet  sync.Mutex
	listed command.Listed

	// mu protects closed, and orders wg.Add before the wait.
	mu     sync.Mutex
	closed bool
}

// Open makes a store for the Redis that cfg names. It fails for an invalid configuration, but not when the
// server does not respond: then calls, Ping included, fail with tunnel.ErrUnavailable.
func Open(ctx context.Context, cfg Config) (*Store, error) { return OpenWatched(ctx, cfg, nil) }

// OpenWatched is Open, but files also reads the files of the configuration again when they change.
func OpenWatched(ctx context.Context, cfg Config, files *filewatch.Watcher) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	opts, err := cfg.options(files)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return newStore(opts, opts.name(), cfg.Timeout, func() {}), nil
}

// OpenURL is Open with the defaults and a URL.
func OpenURL(ctx context.Context, url string) (*Store, error) {
	cfg := Default()
	cfg.URL = url
	return Open(ctx, cfg)
}

// OpenThrough is Open for a server that is reached over the connections that dial makes, for instance one in the memory of this process.
// name stands for the server's address in errors.
func OpenThrough(name string, dial func(ctx context.Context) (net.Conn, error)) *Store {
	opts := &redis.Options{Addr: name, Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	tune(opts, defaultTimeout)
	return newStore(servers{Options: opts}, name, defaultTimeout, func() {})
}

func newStore(opts servers, name string, timeout time.Duration, onClose func()) *Store {
	// The client library writes to standard error by itself otherwise; calls return the same errors.
	logging.Disable()
	return &Store{
		client:  opts.client(),
		form:    opts.form,
		scripts: newScripts(),
		name:    name,
		timeout: timeout,
		onClose: onClose,
		done:    make(chan struct{}),
	}
}

// Ping checks that the store responds.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.client.Ping(ctx).Err(); err != nil {
		return s.failure(ctx, "ping", err)
	}
	return nil
}

// Connector returns the connector id of a tunnel; tunnel.ErrNotFound if it has none.
func (s *Store) Connector(ctx context.Context, id tunnel.ID) (tunnel.ConnectorID, error) {
	return do(ctx, s, command.Connector(id))
}

// EnsureConnector returns the connector id of a tunnel: the stored one, or candidate if there was none. Of several
// candidates at the same time one wins and all callers get it (docs/spec/lifecycle.md 14.2).
func (s *Store) EnsureConnector(ctx context.Context, id tunnel.ID, candidate tunnel.ConnectorID) (tunnel.ConnectorID, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if !candidate.IsZero() {
		if _, err := do(ctx, s, command.OfferConnector(id, candidate)); err != nil {
			return tunnel.ConnectorID{}, err
		}
	}
	return do(ctx, s, command.Connector(id))
}

// Close ends all watches and closes the connections. It waits for every goroutine of the store. A second Close does
// nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.done)
	s.mu.Unlock()

	s.wg.Wait()
	err := s.client.Close()
	s.onClose()
	if err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	return nil
}

// start runs f in a goroutine that Close waits for; f must end when s.done is closed. A closed store starts nothing.
func (s *Store) start(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.wg.Go(f)
	}
}
