package supervisor

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// kinds lists the kinds of all events, the oldest first.
func (a caller) kinds() (out []string) {
	a.t.Helper()
	var page opsapi.Events
	if code := a.call("GET", "/events?limit=200", "", &page); code != http.StatusOK {
		a.t.Fatalf("events: %d", code)
	}
	for _, e := range slices.Backward(page.Items) {
		out = append(out, e.Kind)
	}
	return out
}

// TestEvents: what happens in a deployment is told once, with its reason and who did it.
func TestEvents(t *testing.T) {
	a := connectedLab(t)
	testkit.Eventually(t, "the lead and two grants are told", func() bool {
		k := a.kinds()
		return slices.Contains(k, opsapi.EventLead) && len(slices.DeleteFunc(k, func(s string) bool { return s != opsapi.EventGranted })) == 2
	})
	if err := a.store.PutWorker(t.Context(), fleet.Worker{ID: "w2", Host: "h2", Capacity: 5}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := a.store.Hint(t.Context(), "fleet"); err != nil {
		t.Fatal(err)
	}
	a.call("POST", "/workers/w1/drain", `{"author":"ann"}`, nil)
	a.call("POST", "/tunnels/"+a.id.String()+"/pause", `{"author":"ann"}`, nil)
	testkit.Eventually(t, "joined, drained, paused, released", func() bool {
		k := a.kinds()
		for _, want := range []string{opsapi.EventWorkerJoined, opsapi.EventMarked, opsapi.EventDesired, opsapi.EventReleased} {
			if !slices.Contains(k, want) {
				return false
			}
		}
		return true
	})
	var page opsapi.Events
	a.call("GET", "/events?limit=200", "", &page)
	for _, e := range page.Items {
		if e.Supervisor != "s1" || e.Time.IsZero() || e.ID == "" {
			t.Errorf("event %+v", e)
		}
		if (e.Kind == opsapi.EventGranted || e.Kind == opsapi.EventReleased) && (e.Cause == "" || e.Worker == "" || e.Index == nil) {
			t.Errorf("event %+v", e)
		}
		if e.Kind == opsapi.EventDesired && e.Who != "ann" {
			t.Errorf("event %+v", e)
		}
	}
}

// watch reads a stream until stop says so, and returns the events.
func watch(t *testing.T, url, after string, stop func(all []opsapi.Event) bool) []opsapi.Event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/events/stream", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Last-Event-ID", after)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("stream: %d %v", resp.StatusCode, resp.Header)
	}
	var all []opsapi.Event
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		text, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		var e opsapi.Event
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		if all = append(all, e); stop(all) {
			break
		}
	}
	return all
}

// TestStream: a stream that ended goes on after its last event, without a loss and without an event twice, while events are written.
func TestStream(t *testing.T) {
	a := connectedLab(t)
	url := a.serve()
	first, err := a.store.Append(t.Context(), command.Events, `{"kind":"test","detail":"first"}`, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	const total = 3000
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range total {
			if _, err := a.store.Append(context.Background(), command.Events, fmt.Sprintf(`{"kind":"test","detail":"%d"}`, i), 10_000); err != nil {
				t.Error(err)
				return
			}
			if i%100 == 0 {
				_ = a.store.Hint(context.Background(), "events")
			}
		}
	})
	defer writer.Wait()
	var got []string
	last := first
	for len(got) < total {
		part := watch(t, url, last, func(all []opsapi.Event) bool { return len(all) >= 700 || len(got)+len(all) >= total })
		for _, e := range part {
			last = e.ID
			if e.Kind == "test" {
				got = append(got, e.Detail)
			}
		}
	}
	for i, detail := range got {
		if detail != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, detail)
		}
	}
	gap := watch(t, url, "1-0", func(all []opsapi.Event) bool { return true })
	if gap[0].Kind != opsapi.EventGap {
		t.Errorf("after an event that is not kept any more: %+v", gap[0])
	}
	if rec := a.do("GET", "/events/stream", "", map[string]string{"Last-Event-ID": "x"}); rec.Code != http.StatusBadRequest {
		t.Errorf("a bad id: %d", rec.Code)
	}
}
