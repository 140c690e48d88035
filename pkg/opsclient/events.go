package opsclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
)

const (
	// maxLine bounds a line of a stream, in bytes.
	maxLine = 1 << 20
	// comeAgain is the pause before a stream that ended is opened again.
	comeAgain = time.Second
)

// Events reads a page of the events that are kept, the newest first.
func (c *Client) Events(ctx context.Context, cursor string) (opsapi.Events, error) {
	return get[opsapi.Events](ctx, c, paged("/v1/events", cursor))
}

// Follow calls take with each event after the one with an id, as they happen; an empty id begins with the next event. A stream that ends is
// opened again where it ended, so no event is missed and none comes twice. It returns when ctx ends, take fails, or the supervisor refuses.
func (c *Client) Follow(ctx context.Context, after string, take func(opsapi.Event) error) error {
	for {
		refused := new(ops.Problem)
		last, err := c.stream(ctx, after, take)
		after = last
		var failed *takeError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &failed):
			return failed.err
		case errors.As(err, &refused) && refused.Status != http.StatusServiceUnavailable && refused.Status != http.StatusTooManyRequests:
			return err
		}
		again := time.NewTimer(comeAgain)
		select {
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		case <-again.C:
		}
	}
}

// takeError is an error of the function that takes events.
type takeError struct{ err error }

func (e *takeError) Error() string { return e.err.Error() }

// stream reads one stream, and returns the id of its last event.
func (c *Client) stream(ctx context.Context, after string, take func(opsapi.Event) error) (last string, err error) {
	header := http.Header{}
	if after != "" {
		header.Set("Last-Event-ID", after)
	}
	body, err := c.api.Stream(ctx, "/v1/events/stream", header)
	if err != nil {
		return after, err
	}
	defer func() { _ = body.Close() }() // it was only read
	return readStream(body, after, take)
}

// readStream reads server-sent events. Fields and comments that it does not know are passed over.
func readStream(r io.Reader, after string, take func(opsapi.Event) error) (last string, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	last = after
	var data strings.Builder
	for lines.Scan() {
		line := lines.Text()
		if text, found := strings.CutPrefix(line, "data:"); found {
			data.WriteString(strings.TrimPrefix(text, " "))
			continue
		}
		if line != "" || data.Len() == 0 {
			continue
		}
		var e opsapi.Event
		if err := json.Unmarshal([]byte(data.String()), &e); err != nil {
			return last, fmt.Errorf("event: %w", err)
		}
		data.Reset()
		if err := take(e); err != nil {
			return last, &takeError{err}
		}
		if e.ID != "" {
			last = e.ID
		}
	}
	return last, lines.Err()
}
