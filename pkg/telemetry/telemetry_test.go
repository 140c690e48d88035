package telemetry_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
)

func TestNewLogger(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg         telemetry.Config
		debug, info bool
	}{
		"default": {telemetry.Default(), false, true},
		"debug":   {telemetry.Config{Level: "debug", Format: "text"}, true, true},
		"fatal":   {telemetry.Config{Level: "fatal", Format: "text"}, false, false},
		"unknown": {telemetry.Config{Level: "loud", Format: "text"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			l := telemetry.NewLogger(tc.cfg, &out)
			l.Debug("a debug line")
			l.Info("an info line")
			if got := strings.Contains(out.String(), "a debug line"); got != tc.debug {
				t.Errorf("debug shown = %v, want %v", got, tc.debug)
			}
			if got := strings.Contains(out.String(), "an info line"); got != tc.info {
				t.Errorf("info shown = %v, want %v", got, tc.info)
			}
		})
	}
}

func TestJSONFormat(t *testing.T) {
	var out strings.Builder
	telemetry.NewLogger(telemetry.Config{Format: "json"}, &out).Info("lease lost", logkey.Epoch, 7)
	var line struct {
		Time  string
		Msg   string
		Epoch int
	}
	if err := json.Unmarshal([]byte(out.String()), &line); err != nil {
		t.Fatal(err)
	}
	if line.Msg != "lease lost" || line.Epoch != 7 || !strings.HasSuffix(line.Time, "Z") {
		t.Errorf("line = %s", out.String())
	}
}

func TestLinesCarryNoSecret(t *testing.T) {
	for _, format := range []string{telemetry.FormatText, telemetry.FormatJSON} {
		var out strings.Builder
		l := telemetry.NewLogger(telemetry.Config{Format: format}, &out)
		const secret = "hunter2"
		address := "http://user:" + secret + "@host/x"
		l.With(slog.String(logkey.URL, address)).Info(
			"origin failed",
			slog.Any(logkey.Err, fmt.Errorf("dial %q: %w", address, io.EOF)),
			slog.Group(logkey.Part, slog.Any(logkey.Flags, []string{address})),
			slog.Any(
				logkey.Given,
				map[string]string{"url": address, "token": secret},
			),
			slog.Any(logkey.Host, &url.URL{Path: address}),
			slog.Any(logkey.Addr, (*url.URL)(nil)),
		)
		if strings.Contains(out.String(), secret) || !strings.Contains(out.String(), "http://user:***@host/x") {
			t.Errorf("%s: %s", format, out.String())
		}
	}
}

func TestValidate(t *testing.T) {
	if err := telemetry.Default().Validate(); err != nil {
		t.Error(err)
	}
	if err := (telemetry.Config{Level: "loud", Format: "text"}).Validate(); err == nil {
		t.Error("level loud accepted")
	}
	if err := (telemetry.Config{Level: "info", Format: "xml"}).Validate(); err == nil {
		t.Error("format xml accepted")
	}
}

func TestRegistryPage(t *testing.T) {
	rec := httptest.NewRecorder()
	telemetry.NewRegistry("v1").Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	for _, want := range []string{`culvert_build_info{`, `version="v1"`, "go_goroutines"} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("page misses %q", want)
		}
	}
}
