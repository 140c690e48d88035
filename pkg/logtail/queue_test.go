package logtail_test

import (
	"encoding/json"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/logtail"
	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func TestAFullQueueDropsTheNewest(t *testing.T) {
	q := logtail.NewQueue(tunnel.ID{1}, management.Filters{}, "")
	log := telemetry.Tapped(slog.New(slog.DiscardHandler))
	stop := telemetry.TapOf(log).Listen(q)
	defer stop()
	requests := telemetry.ForEvent(log, management.HTTP)
	for i := range management.Window + 5 {
		log.Info("line", slog.Int(logkey.Rule, i))
	}
	for range 3 {
		requests.Debug("a request that is not even made into a record")
	}
	if n := len(q.Messages()); n != management.Window {
		t.Errorf("%d lines wait", n)
	}
	m, err := management.ParseLogs(<-q.Messages())
	if err != nil || m.Logs[0].Fields["ingressRule"] != float64(0) {
		t.Errorf("the oldest line is %+v, %v", m, err)
	}
	m, err = management.ParseLogs(q.Drops(time.Unix(0, 0)))
	if err != nil || m.Logs[0].Fields["dropped"] != float64(8) || m.Logs[0].Level != management.Warn {
		t.Errorf("report %+v, %v", m, err)
	}
	if q.Drops(time.Unix(0, 0)) != nil {
		t.Error("the same lines are reported twice")
	}
}

// What waits travels together, and no more than a client's window at once.
func TestBatch(t *testing.T) {
	q := logtail.NewQueue(tunnel.ID{1}, management.Filters{}, "")
	log := telemetry.Tapped(slog.New(slog.DiscardHandler))
	defer telemetry.TapOf(log).Listen(q)()
	for range 3 {
		log.Info("line")
	}
	m, err := management.ParseLogs(management.Joined(q.Batch(<-q.Messages())))
	if err != nil || len(m.Logs) != 3 || len(q.Messages()) != 0 {
		t.Errorf("%+v, %v, %d more", m, err, len(q.Messages()))
	}
}

// A line that is not in the sample is not translated, which is most of what it costs.
func TestASampleCostsLittle(t *testing.T) {
	q := logtail.NewQueue(tunnel.ID{1}, management.Filters{Sampling: 1e-300}, "")
	log := telemetry.ForEvent(telemetry.Tapped(slog.New(slog.DiscardHandler)), management.HTTP)
	defer telemetry.TapOf(log).Listen(q)()
	if n := testing.AllocsPerRun(100, func() { log.Debug("request received", slog.String(logkey.Method, "GET")) }); n > 1 {
		t.Errorf("%v allocations for a line that is not sent", n)
	}
	if len(q.Messages()) != 0 {
		t.Error("it was sent")
	}
}

func TestForwardedAndOddLines(t *testing.T) {
	q := logtail.NewQueue(tunnel.ID{1}, management.Filters{}, "me")
	q.Forward([]byte("no message"))
	q.Forward([]byte(`{"type":"logs","logs":[{"message":"a"},{"message":"b"}]}`))
	log := telemetry.Tapped(slog.New(slog.DiscardHandler))
	defer telemetry.TapOf(log).Listen(q)()
	log.Info("not a number", slog.Float64(logkey.Took, math.NaN())) // JSON has none
	log.Info("failed", slog.Any(logkey.Err, json.Unmarshal([]byte("x"), new(int))))
	want := []struct {
		message string
		level   management.Level
	}{{"a", management.Debug}, {"b", management.Debug}, {"not a number", management.Info}, {"failed", management.Error}}
	for _, w := range want {
		m, err := management.ParseLogs(<-q.Messages())
		if err != nil || len(m.Logs) != 1 || m.Logs[0].Message != w.message || m.Logs[0].Level != w.level {
			t.Errorf("message %+v, %v, want %v", m, err, w)
		}
	}
	if n := len(q.Messages()); n != 0 {
		t.Errorf("%d more lines", n)
	}
}
