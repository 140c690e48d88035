package runlog

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/stocklog"
)

// TestGate: lines that were logged while the gate was shut come in their order when it opens, as they were when they were logged.
func TestGate(t *testing.T) {
	var out bytes.Buffer
	var g gate
	levels := stocklog.Levels{Lines: slog.LevelInfo, Transport: slog.LevelInfo}
	encode := func(b []byte, l *stocklog.Line) []byte { return append(stocklog.JSON()(b[:0], l), '|') }
	logger := slog.New(stocklog.NewHandler(levels, stocklog.Output{Writer: g.writer(&out), Encode: encode}))
	header := map[string][]string{"Host": {"first"}}

	g.shut()
	logger.Info("one", slog.Any(logkey.Headers, header))
	header["Host"][0] = "changed"
	logger.Info("two", slog.Any(logkey.Headers, header))
	if out.Len() > 0 {
		t.Errorf("written while shut: %s", &out)
	}
	g.open()
	logger.Info("three", slog.Any(logkey.Headers, header))
	lines := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("|")), []byte("|"))
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3: %s", len(lines), &out)
	}
	for i, want := range [][2]string{{"one", "first"}, {"two", "changed"}, {"three", "changed"}} {
		if !bytes.Contains(lines[i], []byte(want[0])) || !bytes.Contains(lines[i], []byte(want[1])) {
			t.Errorf("line %d is %s, want %v in it", i, lines[i], want)
		}
	}
}
