package runlog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/runlog"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// given gives the settings of flags, and of keys of a file.
func given(t *testing.T, file map[string][]string, flags ...string) *settings.Settings {
	t.Helper()
	level := settings.NewLevel()
	for _, kv := range flags {
		name, text, _ := strings.Cut(kv, "=")
		for _, v := range level {
			if v.Flag.Name == name {
				if err := v.Set(text); err != nil {
					t.Fatalf("--%s: %v", kv, err)
				}
			}
		}
	}
	s, err := settings.Resolve([]settings.Level{level}, func(string) string { return "" }, file, "config.yml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOpen: what the flags say decides about the level, the forms and the places; nothing stops the start.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file, logs := filepath.Join(dir, "new", "log"), filepath.Join(dir, "logs")
	for name, tc := range map[string]struct {
		flags   []string
		console string // a pattern for all of it
		file    string // is written
	}{
		"defaults": {nil, `^\S+Z WRN shown file=x\n$`, ""},
		"level":    {[]string{"loglevel=error"}, `^$`, ""},
		"wrong level": {
			[]string{"loglevel=loud"}, `^\S+ ERR Failed to parse log level "loud", using "info" instead\n\S+ WRN shown file=x\n$`, "",
		},
		"transport level": {[]string{"transport-loglevel=loud"}, `^\S+ ERR Failed to parse log level "loud".*\n\S+ WRN shown file=x\n$`, ""},
		"json":            {[]string{"output=json"}, `^{"file":"x","level":"warn","message":"shown","time":"\S+"}\n$`, ""},
		"wrong output":    {[]string{"output=xml"}, `^\S+ WRN unknown output format, using default given=xml\n\S+ WRN shown file=x\n$`, ""},
		"file":            {[]string{"logfile=" + file}, `^\S+ WRN shown file=x\n$`, file},
		"directory":       {[]string{"log-directory=" + logs}, `^\S+ WRN shown file=x\n$`, filepath.Join(logs, "cloudflared.log")},
		"both": {
			[]string{"logfile=" + file + "2", "log-directory=" + logs},
			`^\S+ ERR Your config includes values for both logfile \(\S+\) and log-directory \(\S+\), .*\n\S+ WRN shown file=x\n$`, file + "2",
		},
		"no file": {
			[]string{"logfile=/dev/null/x"},
			`^\S+ WRN log file cannot be written, logging to standard error only error="mkdir .*" file=/dev/null/x\n\S+ WRN shown file=x\n$`, "",
		},
		"no directory": {
			[]string{"log-directory=/dev/null/x"},
			`^\S+ WRN log file cannot be written, .* file=/dev/null/x/cloudflared.log\n\S+ WRN shown file=x\n$`, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			l := runlog.Open(given(t, nil, tc.flags...), &out, "")
			l.Logger.Warn("shown", slog.String(logkey.File, "x"))
			l.Close()
			if !regexp.MustCompile(tc.console).MatchString(out.String()) {
				t.Errorf("console %q, want %q", out.String(), tc.console)
			}
			if tc.file == "" {
				return
			}
			raw, err := os.ReadFile(tc.file)
			if err != nil || !strings.HasSuffix(string(raw), `"message":"shown"}`+"\n") {
				t.Errorf("file %q, %v", raw, err)
			}
			info, err := os.Stat(filepath.Dir(tc.file))
			if err != nil || info.Mode().Perm() != 0o744 {
				t.Errorf("directory: %v, %v", info, err)
			}
		})
	}
}

// TestRolling: the file in a directory does not grow beyond 1 MB, and a former one is kept beside it.
func TestRolling(t *testing.T) {
	dir := t.TempDir()
	l := runlog.Open(given(t, nil, "log-directory="+dir), &bytes.Buffer{}, "")
	defer l.Close()
	for range 1200 {
		l.Logger.Warn("shown", slog.String(logkey.File, strings.Repeat("x", 1000)))
	}
	files, err := filepath.Glob(filepath.Join(dir, "cloudflared*.log"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: %d bytes, %v", f, info.Size(), err)
		}
	}
}

// TestStart: the lines name what was given, without secrets.
func TestStart(t *testing.T) {
	var out bytes.Buffer
	s := given(t, map[string][]string{"tag": {"a=b", "c=d"}, "origin-ca-pool": {"ca.pem"}},
		"token=hunter2", "grace-period=120s", "protocol=quic",
		"url=http://u:hunter2@localhost/", "loglevel=debug")
	l := runlog.Open(s, &out, "")
	l.Start(t.Context(), tunnel.ID{15: 1}, s, &cfdfile.File{Path: "config.yml", UnusedKeys: []string{"odd"}}, []string{
		"TUNNEL_TOKEN=hunter2", "TUNNEL_CRED_CONTENTS={}", "TUNNEL_RETRIES=3", "MY_TUNNEL_X=a=b", "TUNNEL_URL=http://u:hunter2@h/", "HOME=/root",
	})
	l.Logger.Warn("shown", slog.String(logkey.File, "later"))
	l.Close()
	for _, want := range []string{
		`INF Starting tunnel tunnelID=00000000-0000-0000-0000-000000000001`, `DBG Loading configuration from config\.yml`,
		`WRN configuration file has unused keys keys=\["odd"\]`,
		`INF Version \S+ \(Checksum [0-9a-f]{64}\)`, `INF GOOS: \w+, GOVersion: \S+, GoArch: \w+`,
		`INF Settings: map\[grace-period:2m0s loglevel:debug origin-ca-pool:ca.pem p:quic protocol:quic tag:\[a=b c=d\] token:\*\*\*\*\* ` +
			`url:http://u:\*\*\*@localhost/\]`,
		`INF Environmental variables map\[MY_TUNNEL_X:a=b TUNNEL_CRED_CONTENTS:\*\*\*\*\* TUNNEL_RETRIES:3 TUNNEL_TOKEN:\*\*\*\*\* ` +
			`TUNNEL_URL:http://u:\*\*\*@h/\]`,
		`WRN secret on the command line, .* flag=token`,
	} {
		if !regexp.MustCompile(`(?m)^\S+Z ` + want + `$`).MatchString(out.String()) {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
	if p, later := strings.Index(out.String(), "INF Version"), strings.Index(out.String(), "file=later"); p > later {
		t.Errorf("the line about the program is not before later ones:\n%s", out.String())
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("a secret is in the log:\n%s", out.String())
	}
}

// TestEnd: a signal is logged when it comes, and a failure at the end.
func TestEnd(t *testing.T) {
	var out bytes.Buffer
	l := runlog.Open(given(t, nil, "output=json"), &out, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := l.Signal(ctx)
	cancel(process.SignalError{Signal: syscall.SIGTERM})
	stop()
	l.Signal(t.Context())() // nothing happened
	l.End(ctx, errors.New("why"))
	var messages []string
	for line := range strings.Lines(out.String()) {
		var v struct{ Level, Message, Error string }
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatal(err)
		}
		messages = append(messages, v.Level+" "+v.Message+" "+v.Error)
	}
	want := "info Initiating graceful shutdown due to signal terminated ... ," +
		"error Initiating shutdown why,info Metrics server stopped ,info Tunnel server stopped "
	if got := strings.Join(messages, ","); got != want {
		t.Errorf("lines %q, want %q", got, want)
	}
}
