package stocklog_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/stocklog"
)

// example turns a recorded line of cloudflared into the record of ours that stands for it. Names of groups in the pattern are the
// attributes; more are fixed ones.
type example struct {
	pattern string
	ours    string
	more    []any
}

// onConn is the end of a recorded line about a connection, with the keys sorted.
const onConn = ` connIndex=(?P<conn_index>\d) event=0 ip=(?P<edge_addr>[\d.]+)$`

func examples() []example {
	failed := func(kind, protocol, err string) []any {
		return []any{logkey.Kind, kind, logkey.Protocol, protocol, logkey.Err, err, logkey.EdgeAddr, "127.0.0.1:1"}
	}
	const stream, closed = `error="accept stream listener encountered a failure while serving"`, `error="connection with edge closed"`
	lostQUIC, lostH2 := failed("lost", "quic", "Application error 0x0 (remote)"), failed("lost", "http2", "EOF")
	deadQUIC := failed("dial_failed", "quic", "timeout: no recent network activity")
	deadH2 := []any{logkey.Kind, "dial_failed", logkey.Protocol, "http2", logkey.EdgeAddr, "127.0.0.1:1"}
	const refused = `error="DialContext error: (?P<err>dial tcp [^"]*)"`
	return []example{
		{`INF Starting tunnel tunnelID=(?P<tunnel_id>.*)$`, "tunnel starts", nil},
		{`INF Cannot determine default configuration path`, "no configuration file found", nil},
		{`INF Version (?P<version>\S+) \(Checksum (?P<checksum>\w+)\)`, "program", nil},
		{`INF GOOS: (?P<os>\w+), GOVersion: (?P<go_version>\S+), GoArch: (?P<arch>\w+)`, "program", nil},
		{`INF Settings: (?P<given>.*)$`, "settings", nil},
		{`INF Generated Connector ID: (?P<connector_id>.*)$`, "connector has its id", nil},
		{`INF Initial protocol (?P<protocol>.*)$`, "first protocol chosen", nil},
		{`INF ICMP proxy will use (?P<ipv4>\S+) as source for IPv4`, "sources of ICMP errors", nil},
		{`INF ICMP proxy will use (?P<ipv6>\S+) in zone (?P<zone>\w+) as source for IPv6`, "sources of ICMP errors", nil},
		{`WRN ICMP proxy feature is disabled error="(?P<err>.*)"$`, "ping through the tunnel is not available", nil},
		{`ERR edge discovery: error looking up .* error="(?P<err>.*)" event=0`, "edge addresses not found, the last pool stays", nil},
		{`INF Tunnel connection curve preferences: (?P<curves>\[.*\])` + onConn, "connection is dialled", nil},
		{`INF Starting metrics server on (?P<addr>\S+)/metrics`, "metrics listener opened", nil},
		{`INF Registered tunnel connection connIndex=(?P<conn_index>\d) connection=(?P<connection_id>\S+) event=0 ip=(?P<edge_addr>\S+) ` +
			`location=(?P<location>\S+) protocol=(?P<protocol>\S+)$`, "connection registered", nil},
		{`INF Updated to new configuration config=(?P<document>".*") version=(?P<version>\d+)$`, "configuration applied", nil},
		{`INF Lost connection with the edge connIndex=(?P<conn_index>\d)$`, "connection failed", lostH2},
		{`(WRN|ERR) Serve tunnel error ` + closed + onConn, "connection failed", lostH2},
		{`(WRN|ERR) Connection terminated ` + closed + ` connIndex=(?P<conn_index>\d)$`, "connection failed", lostH2},
		{`ERR failed to accept incoming stream requests .*` + onConn, "connection failed", lostQUIC},
		{`(WRN|ERR) (failed to serve tunnel connection|Serve tunnel error) ` + stream + onConn, "connection failed", lostQUIC},
		{`(WRN|ERR) Connection terminated ` + stream + ` connIndex=(?P<conn_index>\d)$`, "connection failed", lostQUIC},
		{`(WRN|ERR) Failed to dial a quic connection .*` + onConn, "connection failed", deadQUIC},
		{`(WRN|ERR) Connection terminated error="failed to dial .* connIndex=(?P<conn_index>\d)$`, "connection failed", deadQUIC},
		{`(WRN|ERR) (Unable to establish connection with Cloudflare edge|Serve tunnel error) ` + refused + onConn, "connection failed", deadH2},
		{`(WRN|ERR) Connection terminated ` + refused + ` connIndex=(?P<conn_index>\d)$`, "connection failed", deadH2},
		{`INF Retrying connection in up to (?P<wait_up_to>\w+)` + onConn, "connection failed", []any{logkey.Kind, "lost"}},
		{`INF Initiating graceful shutdown due to signal (?P<signal>\w+) \.\.\.$`, "signal received", nil},
		{`INF Unregistered tunnel connection` + onConn, "connection unregistered", nil},
		{`INF (Metrics|Tunnel) server stopped$`, "connector stopped", nil},
	}
}

// absent lists the lines that ours does not write, with the reason.
func absent() map[string]string {
	return map[string]string{
		"Failed to fetch features, default to disable":       "features come from the records of discovery, which says once that DNS is away",
		"Unable to lookup protocol percentage.":              "the same",
		"Failed to initialize DNS local resolver":            "the resolver of the host is read without a query",
		"The user running cloudflared process has a GID":     "ours adds the key remedy, with the command that allows ping",
		"Please try the following things":                    "advice about the domain of the vendor's edge",
		"  1. ensure that":                                   "the same",
		"     Run your system's equivalent":                  "the same",
		"  2. ensure that":                                   "the same",
		"     See GitHub issue":                              "the same",
		"     For example, you could use":                    "the same",
		"     https://developers.cloudflare.com":             "the same",
		"Starting Hello World server at":                     "nothing listens, so there is no address",
		"failed to run the datagram handler":                 "it says again that the connection ended",
		"failed to serve incoming request error=\"Error shu": "the same, over http2",
		"failed to serve tunnel connection error=\"control ": "an orderly end is no error",
		"Serve tunnel error error=\"control ":                "the same",
	}
}

// TestRecordedLines: for each line of recorded runs of cloudflared the table produces exactly that line, in each of the three forms, or
// the test says why there is none.
func TestRecordedLines(t *testing.T) {
	for form, encode := range map[string]stocklog.Encoder{
		"log-*-console.txt": stocklog.Console(false), "log-*-json.txt": stocklog.SortedJSON(), "logfile-*.txt": stocklog.JSON(),
	} {
		files, err := filepath.Glob(filepath.Join("testdata", form))
		if err != nil || len(files) != 2 {
			t.Fatalf("recordings %s: %v, %v", form, files, err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			produced := 0
			for line := range strings.Lines(string(raw)) {
				if replay(t, file, line, encode) {
					produced++
				}
			}
			if produced < 40 {
				t.Errorf("%s: only %d lines are produced", file, produced)
			}
		}
	}
}

// replay checks one recorded line. It reports whether ours writes it.
func replay(t *testing.T, file, line string, encode stocklog.Encoder) bool {
	t.Helper()
	console := line
	if strings.HasPrefix(line, "{") {
		l := decode(t, line)
		console = string(stocklog.Console(false)(nil, &l))
	}
	stamp, text, _ := strings.Cut(strings.TrimSpace(console), " ")
	at, err := time.Parse(time.RFC3339, stamp)
	if err != nil {
		t.Fatalf("%s: time of %q: %v", file, console, err)
	}
	for begin := range absent() {
		if strings.HasPrefix(text[len("INF "):], begin) {
			return false
		}
	}
	for _, e := range examples() {
		re := regexp.MustCompile("^" + e.pattern)
		m := re.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		r := slog.NewRecord(at, levelOf(text), e.ours, 0)
		r.Add(e.more...)
		for i, name := range re.SubexpNames() {
			if name != "" {
				r.AddAttrs(slog.Any(name, value(m[i]))) //nolint:sloglint // the keys are the names of the groups
			}
		}
		r.AddAttrs(slog.Int(logkey.Connections, map[string]int{"WRN": 1}[text[:3]]))
		var got []string
		for _, l := range stocklog.Translate(r) {
			got = append(got, string(encode(nil, &l)))
			if got[len(got)-1] == line {
				return true
			}
		}
		t.Errorf("%s: no line is\n%sbut\n%s", file, line, strings.Join(got, ""))
		return false
	}
	t.Errorf("%s: no example for %q", file, text)
	return false
}

// value is a captured text as our records hold it.
func value(text string) any {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	if s, err := strconv.Unquote(text); err == nil {
		return s
	}
	return text
}

func levelOf(text string) slog.Level {
	return map[string]slog.Level{"DBG": slog.LevelDebug, "INF": slog.LevelInfo, "WRN": slog.LevelWarn, "ERR": slog.LevelError}[text[:3]]
}

// decode reads a recorded object as a line.
func decode(t *testing.T, line string) stocklog.Line {
	t.Helper()
	var all map[string]any
	d := json.NewDecoder(bytes.NewReader([]byte(line)))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	l := stocklog.Line{Event: stocklog.EventNone, Message: all["message"].(string)}
	var err error
	if l.Time, err = time.Parse(time.RFC3339, all["time"].(string)); err != nil {
		t.Fatal(err)
	}
	l.Level, _ = stocklog.ParseLevel(all["level"].(string))
	for key, v := range all {
		switch key {
		case "level", "time", "message":
		case "event":
			l.Event = stocklog.EventConnector
		default:
			l.Fields = append(l.Fields, stocklog.Field{Key: key, Value: v})
		}
	}
	return l
}
