//go:build system

package system_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// pattern returns n reproducible bytes.
func pattern(n int64, seed uint64) io.Reader {
	var s [32]byte
	s[0], s[1] = byte(seed), byte(seed>>8)
	return io.LimitReader(rand.NewChaCha8(s), n)
}

// paced reads or writes through in small pieces, each followed by a yield, so that the other side has to wait.
type paced struct{ io.Reader }

func (p paced) Read(b []byte) (int, error) {
	t := time.NewTimer(2 * time.Millisecond)
	defer t.Stop()
	<-t.C
	return p.Reader.Read(b[:min(len(b), 16<<10)])
}

// echoOrigin responds to POST with the checksum of the body, to GET /?n=&seed= with n bytes of the pattern.
func echoOrigin(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			h := sha256.New()
			n, err := io.Copy(h, r.Body)
			if err != nil {
				return // the visitor hung up
			}
			fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
			return
		}
		n, _ := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		seed, _ := strconv.ParseUint(r.URL.Query().Get("seed"), 10, 64)
		if r.URL.Query().Get("chunked") == "" {
			w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		}
		_, _ = io.Copy(w, pattern(n, seed)) // a visitor that left is part of the test
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// sizeOf returns sizes from 0 to 64 MiB, most of them small, as in ordinary traffic.
func sizeOf(i int) int64 {
	switch {
	case i%100 == 99:
		return 64 << 20
	case i%10 == 9:
		return int64(i) << 12
	case i%5 == 0:
		return 0
	default:
		return int64(i * 97)
	}
}

func TestFiveHundredAtOnceLeakNothing(t *testing.T) {
	metrics := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	config := filepath.Join(t.TempDir(), "config.yml") // idle origin connections go soon, so that they are no leak
	rules := fmt.Sprintf("ingress:\n  - service: %s\n    originRequest:\n      keepAliveTimeout: 2s\n", echoOrigin(t))
	if err := os.WriteFile(config, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	p, url := up(t, "--config", config, "--metrics", metrics)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 0, MaxIdleConnsPerHost: 8}}
	client.CloseIdleConnections()
	storm(t, client, url, 50) // warm: pools and code
	client.CloseIdleConnections()
	testkit.Retry(t, "all connections", patience, func() error {
		if ready := get(t, "http://"+metrics+"/ready"); !strings.Contains(ready, `"readyConnections":4`) {
			return errors.New(ready)
		}
		return nil
	})
	before := measure(t, p.Cmd.Process.Pid, metrics)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("goroutines:\n%s", get(t, "http://"+metrics+"/debug/pprof/goroutine?debug=1"))
		}
	})
	for range 2 {
		storm(t, client, url, 500)
	}
	client.CloseIdleConnections()
	var after figures
	testkit.Retry(t, "descriptors and goroutines of before", 2*patience, func() error {
		after = measure(t, p.Cmd.Process.Pid, metrics)
		if after.descriptors > before.descriptors+8 || after.goroutines > before.goroutines+16 {
			return fmt.Errorf("before %v, after %v", before, after)
		}
		return nil
	})
	t.Logf("before: %v; after two times 500 requests at once: %v", before, after)
	if after.residentMiB > before.residentMiB+256 {
		t.Errorf("resident memory grew from %d to %d MiB", before.residentMiB, after.residentMiB)
	}
	if got := get(t, url+"/?n=5&seed=1"); len(got) != 5 {
		t.Errorf("%d bytes through the tunnel afterwards, want 5", len(got))
	}
}

// storm sends n requests at once: uploads, downloads, with and without a length, slow on either side, hanging up.
func storm(t *testing.T, client *http.Client, url string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var done, hungUp atomic.Int64
	var slowest [8]atomic.Int64 // by kind, in ms
	for i := range n {
		wg.Go(func() {
			began := time.Now()
			defer func() {
				ms, kind := time.Since(began).Milliseconds(), &slowest[i%8]
				for old := kind.Load(); ms > old && !kind.CompareAndSwap(old, ms); old = kind.Load() {
				}
			}()
			var err error
			switch i % 8 {
			case 0, 1, 2:
				err = download(ctx, client, url, i, i%8 == 1)
			case 3, 4, 5:
				err = upload(ctx, client, url, i, i%8 == 4)
			case 6:
				hangUpReading(ctx, client, url, i)
				hungUp.Add(1)
			case 7:
				hangUpWriting(ctx, client, url)
				hungUp.Add(1)
			}
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			} else {
				done.Add(1)
			}
		})
	}
	wg.Wait()
	var ms []int64
	for i := range slowest {
		ms = append(ms, slowest[i].Load())
	}
	t.Logf("%d of %d in order, %d of them hung up on purpose; slowest by kind in ms: %v", done.Load(), n, hungUp.Load(), ms)
}

func download(ctx context.Context, client *http.Client, url string, i int, slow bool) error {
	size, chunked := sizeOf(i), ""
	if slow {
		size = min(size, 256<<10)
	}
	if i%2 == 0 {
		chunked = "&chunked=1"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/?n=%d&seed=%d%s", url, size, i, chunked), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, want := sha256.New(), sha256.New()
	body := io.Reader(resp.Body)
	if slow {
		body = paced{body}
	}
	n, err := io.Copy(got, body)
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", n, size, err)
	}
	if _, err := io.Copy(want, pattern(size, uint64(i))); err != nil {
		return err
	}
	if n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s, %d bytes, want %d of the pattern", resp.Status, n, size)
	}
	return nil
}

func upload(ctx context.Context, client *http.Client, url string, i int, slow bool) error {
	size := sizeOf(i)
	if slow {
		size = min(size, 256<<10)
	}
	want := sha256.New()
	if _, err := io.Copy(want, pattern(size, uint64(i))); err != nil {
		return err
	}
	body := pattern(size, uint64(i))
	if slow {
		body = paced{body}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/", body)
	if err != nil {
		return err
	}
	if i%2 == 0 {
		req.ContentLength = size
		if size == 0 {
			req.Body = http.NoBody
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if w := fmt.Sprintf("%d %x", size, want.Sum(nil)); string(b) != w || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %q, want %q", resp.Status, b, w)
	}
	return nil
}

// hangUpReading closes the connection in the middle of a large response.
func hangUpReading(ctx context.Context, client *http.Client, url string, i int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/?n=%d&seed=%d", url, 32<<20, i), nil)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 100<<10) // leaving is the point
	cancel()
	_ = resp.Body.Close()
}

// hangUpWriting closes the connection in the middle of an upload.
func hangUpWriting(ctx context.Context, client *http.Client, url string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body := io.MultiReader(pattern(1<<20, 1), readerFunc(func([]byte) (int, error) {
		cancel()
		<-ctx.Done()
		return 0, ctx.Err()
	}))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/", body)
	if err != nil {
		return
	}
	if resp, err := client.Do(req); err == nil {
		_ = resp.Body.Close()
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
