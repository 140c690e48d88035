package management_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/logtail"
	wire "github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/management"
)

// openStore opens a store inside the process.
func openStore(t *testing.T) *redisstore.Store {
	t.Helper()
	store, err := redisstore.OpenEmbedded(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// process is a process of the connector with a relay.
func process(t *testing.T, store *redisstore.Store, name string) *slog.Logger {
	t.Helper()
	log := telemetry.Tapped(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := logtail.NewRelay(store, log, name).Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return log
}

// within waits for a line with all texts, while say keeps logging: a line before the others listen is nobody's.
func within(t *testing.T, c *tail, say func(), texts ...string) {
	t.Helper()
	testkit.Eventually(t, "a line with "+strings.Join(texts, ", "), func() bool {
		say()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, l := range c.lines {
			all := l.Message + " " + l.Event.String()
			if p, ok := l.Fields["process"].(string); ok {
				all += " from " + p
			}
			found := true
			for _, text := range texts {
				found = found && strings.Contains(all, text)
			}
			if found {
				return true
			}
		}
		return false
	})
}

func (c *tail) start(text string) {
	c.t.Helper()
	if err := c.tell(text); err != nil {
		c.t.Fatal(err)
	}
}

func TestLinesOfAllProcesses(t *testing.T) {
	store := openStore(t)
	own := process(t, store, "proxy-1")
	other, worker := process(t, store, "proxy-2"), process(t, store, "worker")
	s := management.New(management.Default(), own, nil, store)
	c := open(t, s, "me")
	c.start(`{"type":"start_streaming","filters":{"events":["http","cloudflared"]}}`)
	within(t, c, func() { own.Info("own line") }, "own line cloudflared")
	within(t, c, func() { requestsOf(other).Debug("GET /") }, "GET / http", "from proxy-2")
	within(t, c, func() { worker.Info("dial http://u:hunter2@host") }, "u:***@host", "from worker")
	streamsOf(other).Error("a stream")
	within(t, c, func() { requestsOf(other).Debug("after it") }, "after it")
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		if l.Event == wire.TCP {
			t.Error("a line that the filters exclude")
		}
		if p, ok := l.Fields["process"]; ok && p == "proxy-1" {
			t.Errorf("an own line came back: %+v", l)
		}
	}
	_ = c.conn.Close()
	<-c.ended
	testkit.Eventually(t, "the record is gone", func() bool {
		all, err := store.Tails(t.Context())
		return err == nil && len(all) == 0
	})
}

func TestOneStreamAcrossProxies(t *testing.T) {
	store := openStore(t)
	newProxy := func() *management.Service {
		return management.New(management.Default(), telemetry.Tapped(slog.New(slog.DiscardHandler)), nil, store)
	}
	first := open(t, newProxy(), "me")
	first.start(`{"type":"start_streaming"}`)
	testkit.Eventually(t, "the record is there", func() bool {
		all, err := store.Tails(t.Context())
		return err == nil && len(all) == 1
	})
	stranger := open(t, newProxy(), "somebody else")
	stranger.start(`{"type":"start_streaming"}`)
	<-stranger.ended
	testkit.Eventually(t, "the stranger is refused", func() bool { return stranger.code() == "4002 limit exceeded for streaming sessions" })
	second := open(t, newProxy(), "me")
	second.start(`{"type":"start_streaming"}`)
	<-first.ended
	testkit.Eventually(t, "the first stream has ended in order", func() bool { return first.code() == "1000 context closed" })
	_ = second.conn.Close()
	<-second.ended
}

// A store that is away costs the lines of other processes, and nothing else.
func TestStreamWithoutTheStore(t *testing.T) {
	store := openStore(t)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	log := telemetry.Tapped(slog.New(slog.DiscardHandler))
	c := open(t, management.New(management.Default(), log, nil, store), "me")
	c.start(`{"type":"start_streaming"}`)
	within(t, c, func() { log.Info("own line") }, "own line")
	_ = c.conn.Close()
	<-c.ended
}
