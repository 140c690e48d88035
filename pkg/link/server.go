package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Defaults and bounds of a server.
const (
	defaultDrainTimeout = 30 * time.Second
	// helloTimeout bounds the TLS handshake and the worker's first frame.
	helloTimeout = 5 * time.Second
	// backlogGrace is for connections that the system accepted before a drain began.
	backlogGrace    = 20 * time.Millisecond
	acceptRetryMin  = 5 * time.Millisecond
	acceptRetryMax  = time.Second
	goAwayWriteTime = time.Second
)

// ServerConfig configures a Server. Handler is needed; zero values of the others mean their defaults.
type ServerConfig struct {
	Handler Handler
	Logger  *slog.Logger
	// Instance distinguishes this process from its predecessor at the same endpoint; at most frame.MaxInstance bytes.
	Instance string
	// DrainTimeout bounds how long running flows may go on after the context of Serve has ended. Default 30 s.
	DrainTimeout time.Duration
	// ReadAhead makes the hang-up watch read ahead, as it does where the system cannot report a hang-up without a read.
	ReadAhead bool
	// SafeRepeats says that Handler obeys Meta.Repeat. Without it workers repeat nothing through this server.
	SafeRepeats bool
}

// Server is the proxy's end of the link. One server may serve several listeners.
type Server struct {
	cfg  ServerConfig
	bufs buffers

	// mu guards the rest.
	mu       sync.Mutex
	conns    map[*serverConn]struct{}
	draining bool
}

// NewServer makes a server; Serve runs it.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.DrainTimeout <= 0 {
		cfg.DrainTimeout = defaultDrainTimeout
	}
	return &Server{cfg: cfg, conns: make(map[*serverConn]struct{})}
}

// Serve accepts connections until ctx ends. Then it sends GOAWAY to every worker, lets running flows finish within
// DrainTimeout, closes all connections and returns nil. It closes l. Afterwards the server accepts no more connections.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() {
		if d, ok := l.(interface{ SetDeadline(t time.Time) error }); ok && d.SetDeadline(time.Now().Add(backlogGrace)) == nil {
			return
		}
		_ = l.Close() // Accept reports it
	})
	defer stop()

	acceptErr := s.accept(ctx, base, l, &wg)
	closeErr := l.Close()
	if errors.Is(closeErr, net.ErrClosed) {
		closeErr = nil
	}
	s.drain(ctx, cancel, &wg)
	if acceptErr != nil {
		return fmt.Errorf("link accept: %w", acceptErr)
	}
	if closeErr != nil {
		return fmt.Errorf("close link listener: %w", closeErr)
	}
	return nil
}

// accept returns nil when ctx ended, and an error when the listener can never accept again.
func (s *Server) accept(ctx, base context.Context, l net.Listener, wg *sync.WaitGroup) error {
	wait := acceptRetryMin
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			wait = acceptRetryMin
			c := newServerConn(base, s, nc)
			s.add(c)
			wg.Go(func() {
				defer s.remove(c)
				c.serve()
			})
		case ctx.Err() != nil:
			return nil //nolint:nilerr // ctx ended
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			// Probably no file descriptor is free, which passes.
			s.cfg.Logger.WarnContext(ctx, "link accept delayed", logkey.Err, err, logkey.Wait, wait)
			if !pause(ctx, wait) {
				return nil
			}
			wait = min(2*wait, acceptRetryMax)
		}
	}
}

// drain sends GOAWAY to the workers, waits for the running flows, and closes the remaining connections.
func (s *Server) drain(ctx context.Context, cancel context.CancelCauseFunc, wg *sync.WaitGroup) {
	if ctx.Err() != nil {
		s.mu.Lock()
		s.draining = true
		for c := range s.conns {
			wg.Go(c.goAway)
		}
		s.mu.Unlock()
		done := make(chan struct{})
		timer := time.AfterFunc(s.cfg.DrainTimeout, func() { close(done) })
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			wg.Wait()
		}()
		select {
		case <-finished:
			timer.Stop()
			return
		case <-done:
			s.cfg.Logger.WarnContext(ctx, "link drain timed out", logkey.Connections, s.count())
		}
		defer func() { <-finished }()
	} else {
		defer wg.Wait()
	}
	cancel(tunnel.ErrDraining)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.kill(tunnel.ErrDraining)
	}
}

func (s *Server) add(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
}

func (s *Server) remove(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// pause waits for d. It reports false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
