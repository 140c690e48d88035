package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/redact"
)

// The formats of log lines.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Config is the log section of a process.
type Config struct {
	Level  string `yaml:"level" usage:"lowest level that is logged: debug, info, warn or error"`
	Format string `yaml:"format" usage:"format of log lines: text or json"`
}

// Default logs Info and above as text.
func Default() Config { return Config{Level: "info", Format: FormatText} }

// Validate reports a level or format that does not exist.
func (c Config) Validate() error {
	if _, err := ParseLevel(c.Level); err != nil {
		return fmt.Errorf("level: %w", err)
	}
	if c.Format != FormatText && c.Format != FormatJSON {
		return fmt.Errorf("format: %q is not text or json", c.Format)
	}
	return nil
}

// ParseLevel reads the name of a level. "fatal" is a level of cloudflared and means error.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "", "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "fatal":
		return slog.LevelError, nil
	default:
		return slog.LevelInfo, fmt.Errorf("%q is not debug, info, warn or error", s)
	}
}

// NewLogger makes the logger of a process. Lines carry UTC times, and no secret that package redact recognizes, wherever it
// came from. An unknown level counts as info and an unknown format as text: Validate reports them.
func NewLogger(c Config, w io.Writer) *slog.Logger {
	level, err := ParseLevel(c.Level)
	if err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: clean}
	if c.Format == FormatJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// clean makes times UTC and removes secrets from every value that is text.
func clean(groups []string, a slog.Attr) slog.Attr {
	if a.Key == logkey.Document {
		return slog.Attr{} // too long for a line of ours
	}
	switch a.Value.Kind() {
	case slog.KindTime:
		if len(groups) == 0 && a.Key == slog.TimeKey {
			a.Value = slog.StringValue(a.Value.Time().UTC().Format(time.RFC3339Nano))
		}
	case slog.KindString:
		a.Value = slog.StringValue(redact.Text(a.Value.String()))
	case slog.KindAny:
		a.Value = cleanAny(a.Value)
	default: // numbers
	}
	return a
}

func cleanAny(v slog.Value) slog.Value {
	if p := reflect.ValueOf(v.Any()); p.Kind() == reflect.Pointer && p.IsNil() {
		return v // its methods may panic; the handler shows it as nil
	}
	switch x := v.Any().(type) {
	case error:
		return slog.StringValue(redact.Text(x.Error()))
	case fmt.Stringer:
		return slog.StringValue(redact.Text(x.String()))
	case []string:
		out := make([]string, len(x))
		for i, s := range x {
			out[i] = redact.Text(s)
		}
		return slog.AnyValue(out)
	case map[string]string:
		out := make(map[string]string, len(x))
		for k, s := range x {
			out[k] = redact.Setting(k, s)
		}
		return slog.AnyValue(out)
	case map[string][]string:
		out := make(map[string]string, len(x))
		for k, values := range x {
			out[k] = redact.Setting(k, strings.Join(values, ", "))
		}
		return slog.AnyValue(out)
	default:
		return v
	}
}
