package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// request is what every small request carries besides the method: what a browser sends and an edge adds, about 200 B.
func request(method string, body int) []stream.Pair {
	h := func(name, val string) stream.Pair { return stream.Pair{Key: stream.HeaderPrefix + name, Val: val} }
	m := []stream.Pair{
		{Key: stream.KeyMethod, Val: method},
		{Key: stream.KeyHost, Val: "bench.example.com"},
		h("Accept", "*/*"), h("Accept-Encoding", "gzip"), h("User-Agent", "bench/1"),
		h("Cf-Connecting-Ip", "198.51.100.7"), h("Cf-Ray", "0123456789abcdef-LIS"),
		h("X-Forwarded-For", "198.51.100.7"), h("X-Forwarded-Proto", "https"),
	}
	if body > 0 {
		m = append(m, h("Content-Length", strconv.Itoa(body)))
	}
	return m
}

// exchange sends one request with a body of the given size and reads the response to its end. It returns the number of
// body bytes.
func exchange(ctx context.Context, e *edge, head []byte, body int, buf []byte) (int, error) {
	st, err := e.open(ctx)
	if err != nil {
		return 0, err
	}
	n, err := talk(st, head, body, buf)
	if err != nil {
		st.CancelRead(transport.NoError)
		st.CancelWrite(transport.NoError)
	}
	return n, err
}

func talk(st transport.Stream, head []byte, body int, buf []byte) (int, error) {
	if _, err := st.Write(head); err != nil {
		return 0, fmt.Errorf("request: %w", err)
	}
	zeros := make([]byte, min(body, 64<<10))
	for left := body; left > 0; {
		n, err := st.Write(zeros[:min(left, len(zeros))])
		if err != nil {
			return 0, fmt.Errorf("request body: %w", err)
		}
		left -= n
	}
	if err := st.CloseWrite(); err != nil {
		return 0, fmt.Errorf("request end: %w", err)
	}
	return readResponse(st, buf)
}

func readResponse(st transport.Stream, buf []byte) (int, error) {
	var resp stream.Response
	have, total, inBody := 0, 0, false
	for {
		n, err := st.Read(buf[have:])
		if inBody {
			total += n
		} else {
			have += n
			used, perr := stream.ParseResponse(buf[:have], &resp)
			switch {
			case errors.Is(perr, stream.ErrShort):
			case perr != nil:
				return 0, fmt.Errorf("response: %w", perr)
			case resp.Error != "" || len(resp.Metadata) == 0 || resp.Metadata[0].Val != "200":
				return 0, fmt.Errorf("response: error %q, metadata %v", resp.Error, resp.Metadata)
			default:
				inBody, total, have = true, have-used, 0
			}
		}
		if errors.Is(err, io.EOF) {
			if !inBody {
				return 0, io.ErrUnexpectedEOF
			}
			return total, nil
		}
		if err != nil {
			return 0, fmt.Errorf("response: %w", err)
		}
	}
}

// loadFigures is the outcome of one run.
type loadFigures struct {
	requests int
	p50, p99 time.Duration
}

// small keeps n requests in flight for d.
func small(ctx context.Context, e *edge, n int, d time.Duration) (loadFigures, error) {
	head, err := (&stream.Request{Dest: "http://bench.example.com/?n=200", Metadata: request("GET", 0)}).Append(nil)
	if err != nil {
		return loadFigures{}, fmt.Errorf("request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, d+10*time.Second)
	defer cancel()
	end := time.Now().Add(d)
	var mu sync.Mutex // guards the three below
	var all []time.Duration
	var failure error
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			buf := make([]byte, 32<<10)
			var mine []time.Duration
			var err error
			for time.Now().Before(end) && err == nil {
				start := time.Now()
				var got int
				if got, err = exchange(ctx, e, head, 0, buf); err == nil && got != 200 {
					err = fmt.Errorf("response of %d bytes, want 200", got)
				}
				mine = append(mine, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
			failure = errors.Join(failure, err)
		})
	}
	wg.Wait()
	if failure != nil {
		return loadFigures{}, fmt.Errorf("%d in flight: %w", n, failure)
	}
	slices.Sort(all)
	return loadFigures{requests: len(all), p50: all[len(all)/2], p99: all[len(all)*99/100]}, nil
}

// bulk transfers mib MiB in one direction over two streams at once.
func bulk(ctx context.Context, e *edge, mib int, up bool) error {
	const streams = 2
	size := mib << 20 / streams
	method, target, body := "GET", "/?n="+strconv.Itoa(size), 0
	if up {
		method, target, body = "POST", "/upload", size
	}
	head, err := (&stream.Request{Dest: "http://bench.example.com" + target, Metadata: request(method, body)}).Append(nil)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	errs := make([]error, streams)
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			got, err := exchange(ctx, e, head, body, make([]byte, 256<<10))
			if err == nil && !up && got != size {
				err = fmt.Errorf("response of %d bytes, want %d", got, size)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
