package sources

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/discovered"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/localrules"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// scripted is a provider that passes on what it is told to.
type scripted chan []discovered.Route

func (scripted) Name() string { return "scripted" }

func (s scripted) Run(ctx context.Context, use func([]discovered.Route)) {
	for {
		select {
		case <-ctx.Done():
			return
		case routes := <-s:
			use(routes)
		}
	}
}

func found(hostname, service string) discovered.Route {
	return discovered.Route{
		From: "container " + hostname, Key: "culvert.hostname", Spec: ingress.RuleSpec{Hostname: hostname, Service: service},
	}
}

// inForce records the rules that were put in force, and refuses some as a proxy whose origins cannot be served.
type inForce struct {
	mu    sync.Mutex
	rules []string
	swaps int
	fault error
}

func (f *inForce) use(r localrules.Rules) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != nil {
		return f.fault
	}
	var now []string
	for i := range r.General.Rules {
		rule := &r.General.Rules[i]
		if rule.Service.Text() == "http://cannot-start:1" {
			return &router.StartError{Tunnel: tunnel.ID{}, Rule: i, Err: errors.New("no such CA file")}
		}
		now = append(now, rule.Hostname+" "+rule.Service.Text())
	}
	f.rules, f.swaps = now, f.swaps+1
	return nil
}

func (f *inForce) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := cmp.Diff(want, f.rules); d != "" {
		t.Error(d)
	}
}

// TestSources changes a file and what a provider finds by turns.
func TestSources(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ingress: [{hostname: f.example.com, service: 'http://f:1'}, {service: 'http_status:404'}]")
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var faults []error
		watcher := filewatch.New(func(e filewatch.Event) {
			if e.Err != nil {
				faults = append(faults, e.Err)
			}
		})
		now, provider := &inForce{}, make(scripted)
		s := &Sources{log: slog.New(slog.NewTextHandler(&log, nil)), use: now.use, providers: []Provider{provider}}
		if err := s.open(Config{ConfigFile: path}, Given{}, watcher); err != nil {
			t.Fatal(err)
		}
		now.expect(t, "f.example.com http://f:1", " http_status:404")
		ctx, cancel := context.WithCancel(t.Context())
		first, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx, first)
		}()
		provider <- []discovered.Route{found("a.example.com", "http://a:1")}
		<-first
		now.expect(t, "f.example.com http://f:1", "a.example.com http://a:1", " http_status:404")
		write("ingress: [{hostname: g.example.com, service: 'http://g:1'}, {service: 'http_status:404'}]")
		watcher.Check()
		now.expect(t, "g.example.com http://g:1", "a.example.com http://a:1", " http_status:404")

		// A bad file changes nothing, and what is found goes on.
		write("ingress: [")
		watcher.Check()
		provider <- []discovered.Route{found("b.example.com", "http://b:1"), found("c.example.com", "http://cannot-start:1")}
		now.expect(t, "g.example.com http://g:1", "b.example.com http://b:1", " http_status:404")
		if len(faults) != 1 {
			t.Errorf("faults of the file: %v, want one", faults)
		}
		const text = `msg="rule of a provider not used" name="container c.example.com" key=culvert.hostname reason="no such CA file"`
		if strings.Count(log.String(), text) != 1 {
			t.Errorf("not once in the log: %s\n%s", text, log.String())
		}

		// The same again is no swap.
		swaps := now.swaps
		provider <- []discovered.Route{found("b.example.com", "http://b:1"), found("c.example.com", "http://cannot-start:1")}
		synctest.Wait()
		if now.swaps != swaps {
			t.Errorf("%d swaps for what did not change", now.swaps-swaps)
		}

		// What cannot be put in force at all is tried again with the next change.
		now.fault = errors.New("no memory")
		provider <- nil
		synctest.Wait()
		now.fault = nil
		if err := s.Replace(Given{Set: ingress.Default503()}); err != nil {
			t.Error(err)
		}
		now.expect(t, " http_status:503")
		cancel()
		<-done
	})
}

// TestStartDoesNotWaitForever: a provider that finds nothing lets the proxy start.
func TestStartDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := &inForce{}
		s := &Sources{log: slog.New(slog.DiscardHandler), use: now.use, providers: []Provider{make(scripted)}}
		if err := s.open(Config{}, Given{Set: ingress.Default503()}, nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx, first)
		}()
		<-first // after firstWithin of fake time
		cancel()
		<-done
	})
}
