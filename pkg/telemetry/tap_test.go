package telemetry_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
)

// listener keeps what it hears.
type listener struct {
	deaf  bool
	lines []string
}

func (l *listener) Wants(slog.Level, management.Event) bool { return !l.deaf }

func (l *listener) Take(r slog.Record, e management.Event) {
	text := e.String() + " " + r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	l.lines = append(l.lines, text)
}

func TestTap(t *testing.T) {
	var out strings.Builder
	log := telemetry.Tapped(telemetry.NewLogger(telemetry.Config{Level: "info", Format: "text"}, &out))
	part := log.With(slog.String(logkey.Part, "proxy"))
	grouped := part.WithGroup("g").With(slog.Int(logkey.Rule, 1)).WithGroup("").WithGroup("h")
	requests := telemetry.ForEvent(part, management.HTTP)
	part.Debug("nobody listens")

	l := &listener{}
	tap := telemetry.TapOf(part)
	stop := tap.Listen(l)
	log.Debug("plain")
	requests.Debug("request", slog.Int(logkey.Status, 200))
	grouped.Info("grouped", slog.Int(logkey.Status, 201))
	l.deaf = true
	log.Debug("no room")
	l.deaf = false
	stop()
	stop()
	part.Debug("nobody listens any more")
	part.Info("but this is written")

	want := []string{
		"cloudflared DEBUG plain",
		"http DEBUG request part=proxy status=200",
		"cloudflared INFO grouped part=proxy g=[rule=1] g=[h=[status=201]]",
	}
	if got := strings.Join(l.lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("heard:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	if s := out.String(); strings.Contains(s, "DEBUG") || !strings.Contains(s, "g.h.status=201") || strings.Count(s, "\n") != 2 {
		t.Errorf("written:\n%s", s)
	}
}

func TestALoggerWithoutATap(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	if telemetry.TapOf(log) != nil || telemetry.ForEvent(log, management.TCP) != log {
		t.Error("a logger without a tap has one")
	}
}

func TestSeveralListeners(t *testing.T) {
	log := telemetry.Tapped(slog.New(slog.DiscardHandler))
	a, b := &listener{}, &listener{}
	stopA := telemetry.TapOf(log).Listen(a)
	stopB := telemetry.TapOf(log).Listen(b)
	log.Info("both")
	stopA()
	log.Info("one")
	stopB()
	log.Info("none")
	if len(a.lines) != 1 || len(b.lines) != 2 {
		t.Errorf("heard %v and %v", a.lines, b.lines)
	}
}

// A line that is not written costs no memory while nobody listens.
func TestAQuietTapAllocatesNothing(t *testing.T) {
	log := telemetry.Tapped(telemetry.NewLogger(telemetry.Default(), &strings.Builder{}))
	if n := testing.AllocsPerRun(100, func() { quietLine(t, log) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func quietLine(tb testing.TB, log *slog.Logger) {
	if log.Enabled(tb.Context(), slog.LevelDebug) {
		tb.Error("debug is enabled")
	}
}

// BenchmarkQuiet compares the check of a logger with that of one with a tap that nobody listens to.
func BenchmarkQuiet(b *testing.B) {
	plain := telemetry.NewLogger(telemetry.Default(), &strings.Builder{})
	for name, log := range map[string]*slog.Logger{"plain": plain, "tapped": telemetry.Tapped(plain)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				quietLine(b, log)
			}
		})
	}
}
