package stocklog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/stocklog"
)

var at = time.Date(2026, 11, 28, 18, 56, 1, 999, time.UTC)

func record(level slog.Level, message string, attrs ...any) slog.Record {
	r := slog.NewRecord(at, level, message, 0)
	r.Add(attrs...)
	return r
}

// console is the lines of a record on a console without colour.
func console(r slog.Record) string {
	var b []byte
	for _, l := range stocklog.Translate(r) {
		b = stocklog.Console(false)(b, &l)
	}
	return string(b)
}

func TestRegisteredConnection(t *testing.T) {
	r := record(slog.LevelInfo, "connection registered", logkey.Part, "conn-worker", logkey.ConnIndex, 0,
		logkey.EdgeAddr, "127.0.0.1:8490", logkey.Protocol, "http2", logkey.Epoch, uint64(7),
		logkey.Location, "local", logkey.ConnectionID, "e616fc90-5649-49cc-8731-a69951e0fd7f")
	want := "2026-11-28T18:56:01Z INF Registered tunnel connection connIndex=0 connection=e616fc90-5649-49cc-8731-a69951e0fd7f " +
		"event=0 ip=127.0.0.1 location=local protocol=http2\n"
	if diff := cmp.Diff(want, console(r)); diff != "" {
		t.Errorf("console (-want +got):\n%s", diff)
	}
	l := stocklog.Translate(r)[0]
	wantJSON := `{"level":"info","event":0,"connection":"e616fc90-5649-49cc-8731-a69951e0fd7f","connIndex":0,"location":"local",` +
		`"ip":"127.0.0.1","protocol":"http2","time":"2026-11-28T18:56:01Z","message":"Registered tunnel connection"}` + "\n"
	if diff := cmp.Diff(wantJSON, string(stocklog.JSON()(nil, &l))); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	wantSorted := `{"connIndex":0,"connection":"e616fc90-5649-49cc-8731-a69951e0fd7f","event":0,"ip":"127.0.0.1","level":"info",` +
		`"location":"local","message":"Registered tunnel connection","protocol":"http2","time":"2026-11-28T18:56:01Z"}` + "\n"
	if diff := cmp.Diff(wantSorted, string(stocklog.SortedJSON()(nil, &l))); diff != "" {
		t.Errorf("--output json (-want +got):\n%s", diff)
	}
}

// streamError is what cloudflared gives as the cause of every lost QUIC connection.
const streamError = `error="accept stream listener encountered a failure while serving"`

func TestLostConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		attrs []any
		want  string
	}{
		"QUIC, others up": {
			[]any{logkey.Protocol, "quic", logkey.Kind, "lost", logkey.ConnIndex, 2, logkey.Connections, 1, logkey.WaitUpTo, 2 * time.Second},
			`2026-11-28T18:56:01Z ERR failed to accept incoming stream requests error="failed to accept QUIC stream: gone" connIndex=2 event=0 ip=::1
2026-11-28T18:56:01Z WRN failed to serve tunnel connection ` + streamError + ` connIndex=2 event=0 ip=::1
2026-11-28T18:56:01Z WRN Serve tunnel error error="accept stream listener encountered a failure while serving" connIndex=2 event=0 ip=::1
2026-11-28T18:56:01Z INF Retrying connection in up to 2s connIndex=2 event=0 ip=::1
2026-11-28T18:56:01Z WRN Connection terminated error="accept stream listener encountered a failure while serving" connIndex=2
`,
		},
		"HTTP/2, the last one": {
			[]any{logkey.Protocol, "http2", logkey.Kind, "lost", logkey.ConnIndex, 0, logkey.Connections, 0, logkey.WaitUpTo, time.Duration(0)},
			`2026-11-28T18:56:01Z INF Lost connection with the edge connIndex=0
2026-11-28T18:56:01Z ERR Serve tunnel error error="connection with edge closed" connIndex=0 event=0 ip=::1
2026-11-28T18:56:01Z ERR Connection terminated error="connection with edge closed" connIndex=0
`,
		},
		"QUIC dial of the first": {
			[]any{logkey.Protocol, "quic", logkey.Kind, "dial_failed", logkey.ConnIndex, 0, logkey.WaitUpTo, 64 * time.Second},
			`2026-11-28T18:56:01Z ERR Failed to dial a quic connection error="failed to dial to edge with quic: gone" connIndex=0 event=0 ip=::1
2026-11-28T18:56:01Z INF Retrying connection in up to 1m4s connIndex=0 event=0 ip=::1
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			attrs := append([]any{logkey.EdgeAddr, "[::1]:7844", logkey.Err, errors.New("gone")}, tc.attrs...)
			if diff := cmp.Diff(tc.want, console(record(slog.LevelWarn, "connection failed", attrs...))); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFailedRequest: what fails is an error twice, as in cloudflared, but a visitor who goes away stays at debug level.
func TestFailedRequest(t *testing.T) {
	web := []any{
		logkey.ConnIndex, 1, logkey.Rule, 0, logkey.Origin, "http://o", logkey.Type, "http", logkey.Dest, "http://h/a", logkey.Err, "gone",
	}
	tcp := []any{logkey.ConnIndex, 1, logkey.Type, "tcp", logkey.Dest, "10.0.0.1:22", logkey.FlowID, "f", logkey.Err, "gone"}
	for name, tc := range map[string]struct {
		level slog.Level
		attrs []any
		want  string
	}{
		"refused": {slog.LevelWarn, web, `2026-11-28T18:56:01Z ERR  error=gone connIndex=1 event=1 ingressRule=0 originService=http://o
2026-11-28T18:56:01Z ERR Request failed error=gone connIndex=1 dest=http://h/a event=0 type=http
`},
		"visitor gone": {slog.LevelDebug, web, `2026-11-28T18:56:01Z DBG  error=gone connIndex=1 event=1 ingressRule=0 originService=http://o
2026-11-28T18:56:01Z DBG Request failed error=gone connIndex=1 dest=http://h/a event=0 type=http
`},
		"private network": {slog.LevelError, tcp, "2026-11-28T18:56:01Z ERR " + ` error=gone connIndex=1 destAddr=10.0.0.1:22 event=2 flowID=f ` +
			`originService=warp-routing
2026-11-28T18:56:01Z ERR Request failed error=gone connIndex=1 dest=10.0.0.1:22 event=0 type=tcp
`},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, console(record(tc.level, "request failed", tc.attrs...))); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOwnLines(t *testing.T) {
	for name, tc := range map[string]struct {
		record slog.Record
		want   string
	}{
		"unknown message": {
			record(slog.LevelWarn, "something of a library", logkey.Part, "proxy", logkey.TunnelID, "t", logkey.WorkerID, "w", logkey.BytesIn, 3),
			"2026-11-28T18:56:01Z WRN something of a library bytesIn=3 tunnelID=t workerID=w\n",
		},
		"about a connection": {
			record(slog.LevelWarn, "connection not unregistered", logkey.ConnIndex, 1, logkey.Err, errors.New(`a "b"`)),
			"2026-11-28T18:56:01Z WRN connection not unregistered error=\"a \\\"b\\\"\" connIndex=1 event=0\n",
		},
		"a secret": {
			record(slog.LevelError, "file read again", logkey.URL, "http://u:hunter2@h/?token=hunter2"),
			"2026-11-28T18:56:01Z ERR file read again url=http://u:***@h/?token=***\n",
		},
		"twice the same key": {
			record(slog.LevelInfo, "file read again", logkey.Name, "a", logkey.Name, "b"),
			"2026-11-28T18:56:01Z INF file read again name=b\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, console(tc.record)); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestColours(t *testing.T) {
	l := stocklog.Line{Time: at, Level: slog.LevelError, Message: "m", Event: stocklog.EventHTTP, Fields: []stocklog.Field{{"error", "e"}}}
	want := "\x1b[90m2026-11-28T18:56:01Z\x1b[0m \x1b[1m\x1b[31mERR\x1b[0m\x1b[0m m " +
		"\x1b[31merror=\x1b[0m\x1b[31me\x1b[0m \x1b[36mevent=\x1b[0m1\n"
	if got := string(stocklog.Console(true)(nil, &l)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestParseLevel(t *testing.T) {
	for text, want := range map[string]slog.Level{
		"": slog.LevelInfo, "debug": slog.LevelDebug, "Trace": slog.LevelDebug, "WARN": slog.LevelWarn, "error": slog.LevelError,
		"fatal": stocklog.LevelFatal, "0": slog.LevelDebug, "1": slog.LevelInfo, "3": slog.LevelError,
		"-1": slog.LevelDebug, "4": stocklog.LevelFatal,
	} {
		if got, ok := stocklog.ParseLevel(text); got != want || !ok {
			t.Errorf("ParseLevel(%q) = %v, %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"loud", "8", "info "} {
		if got, ok := stocklog.ParseLevel(text); got != slog.LevelInfo || ok {
			t.Errorf("ParseLevel(%q) = %v, %v, want info and not ok", text, got, ok)
		}
	}
}

// TestHandlerLevels: a line is written by the level that it has after the translation; lines about the transport have their own.
func TestHandlerLevels(t *testing.T) {
	for name, tc := range map[string]struct {
		levels stocklog.Levels
		want   []string
	}{
		"defaults":         {stocklog.Levels{}, []string{"Updated to new configuration"}},
		"debug":            {stocklog.Levels{Lines: slog.LevelDebug}, []string{"slot granted", "Updated to new configuration", "hint dropped"}},
		"transport debug":  {stocklog.Levels{Transport: slog.LevelDebug}, []string{"Updated to new configuration", "rpc stream ended"}},
		"errors only":      {stocklog.Levels{Lines: slog.LevelError, Transport: slog.LevelError}, nil},
		"nothing is fatal": {stocklog.Levels{Lines: stocklog.LevelFatal, Transport: stocklog.LevelFatal}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log := slog.New(stocklog.NewHandler(tc.levels, stocklog.Output{Writer: &out, Encode: stocklog.JSON()}))
			log.With(logkey.Part, "supervisor").Info("slot granted")
			log.Info("configuration applied")
			worker := log.With(logkey.Part, "conn-worker")
			worker.Debug("rpc stream ended")
			worker.Debug("hint dropped")
			var got []string
			for line := range strings.Lines(out.String()) {
				var v struct{ Message string }
				if err := json.Unmarshal([]byte(line), &v); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				got = append(got, v.Message)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if on := log.With(logkey.Part, "proxy").Enabled(t.Context(), slog.LevelDebug); on != (tc.levels.Lines <= slog.LevelDebug) {
				t.Errorf("debug lines of the proxy enabled: %v", on)
			}
		})
	}
}

// FuzzEncoders: whatever is logged, JSON stays one valid object in one line, and the console one line per line of the message.
func FuzzEncoders(f *testing.F) {
	f.Add("message", "key", "value")
	f.Add("", "level", "\x00\n\"\\<>")
	f.Add("a\nb", "error", "é\xff")
	f.Fuzz(func(t *testing.T, message, key, value string) {
		for _, l := range stocklog.Translate(record(slog.LevelInfo, message, key, value, logkey.Err, value, "list", []string{value})) {
			for _, encode := range []stocklog.Encoder{stocklog.JSON(), stocklog.SortedJSON()} {
				line := encode(nil, &l)
				if !json.Valid(line) || bytes.Count(line, []byte("\n")) != 1 {
					t.Errorf("no JSON line: %q", line)
				}
			}
			line := stocklog.Console(false)(nil, &l)
			if lines := bytes.Count(line, []byte("\n")); lines != 1+strings.Count(l.Message, "\n") && !strings.Contains(key, "\n") {
				t.Errorf("not one line: %q", line)
			}
		}
	})
}
