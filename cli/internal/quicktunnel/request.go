package quicktunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

const (
	// requestTimeout bounds the whole request (docs/spec/lifecycle.md 11.4).
	requestTimeout = 15 * time.Second
	// maxBody bounds the response in bytes; a good one has a few hundred.
	maxBody = 64 << 10
	// maxLogged is how much of a response that is no JSON is logged, in bytes.
	maxLogged = 1 << 10
)

// Request asks the service at the URL service for a tunnel, and logs the box with its address. The logged texts are those that
// programs around the reference wait for. An error means that there is no tunnel.
func Request(ctx context.Context, logger *slog.Logger, service, userAgent string) (Tunnel, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	logger.InfoContext(ctx, "requesting a quick tunnel", slog.String(logkey.URL, service))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, service+"/tunnel", http.NoBody)
	if err != nil {
		return Tunnel{}, fmt.Errorf("failed to build quick tunnel request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", userAgent)
	transport := &http.Transport{} // no proxy: the connector reaches its edge without one, too
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return Tunnel{}, fmt.Errorf("failed to request quick Tunnel: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return Tunnel{}, fmt.Errorf("failed to read quick-tunnel response: %w", err)
	}
	t, err := parse(body)
	if errors.Is(err, errNotJSON) {
		logger.ErrorContext(ctx, "response of the quick service is not JSON", slog.String(logkey.Body, string(body[:min(len(body), maxLogged)])),
			slog.String(logkey.Status, resp.Status), slog.Any(logkey.Err, err))
	}
	if err != nil {
		return Tunnel{}, fmt.Errorf("%w (status %s)", err, resp.Status)
	}
	for _, line := range Box("Your quick Tunnel has been created! Visit it at (it may take some time to be reachable):", t.URL()) {
		logger.InfoContext(ctx, "report line", slog.String(logkey.Line, line))
	}
	return t, nil
}
