package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// The formats of log lines.
const (
	FormatText = "text"
	FormatJSON = "json"
)

// Config is the log section of a process.
type Config struct {
	Level  string `yaml:"level" usage:"least level that is logged: debug, info, warn or error"`
	Format string `yaml:"format" usage:"format of log lines: text or json"`
}

// Default logs Info and above as text.
func Default() Config { return Config{Level: "info", Format: FormatText} }

// Validate reports every setting that NewLogger could not follow.
func (c Config) Validate() error {
	if _, err := ParseLevel(c.Level); err != nil {
		return fmt.Errorf("level: %w", err)
	}
	if c.Format != FormatText && c.Format != FormatJSON {
		return fmt.Errorf("format: %q is none of text, json", c.Format)
	}
	return nil
}

// ParseLevel reads the name of a level. "fatal" is accepted for the sake of the reference's flags and logs errors only.
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
		return slog.LevelInfo, fmt.Errorf("%q is none of debug, info, warn, error", s)
	}
}

// NewLogger makes the logger of a process; lines carry UTC times. An unknown level counts as info, an unknown format
// as text: Validate has told before.
func NewLogger(c Config, w io.Writer) *slog.Logger {
	level, err := ParseLevel(c.Level)
	if err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: utcTime}
	if c.Format == FormatJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func utcTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		a.Value = slog.StringValue(a.Value.Time().UTC().Format(time.RFC3339Nano))
	}
	return a
}
