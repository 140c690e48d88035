package ops

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const shutdownTimeout = 3 * time.Second

// Serve serves ln with srv until ctx ends. It then stops accepting, lets running requests finish for a short while, and cuts the
// rest. It closes ln. Every HTTP server beside the data path runs in it; name is the start of its errors.
func Serve(ctx context.Context, name string, srv *http.Server, ln net.Listener) error {
	served := make(chan error, 1) // one send, also when nobody reads any more
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("%s: %w", name, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close() // the slow requests were given their time
	}
	if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
