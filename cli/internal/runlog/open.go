package runlog

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/term"
	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/culvert-tunnel/culvert/cli/internal/paths"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/stocklog"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
)

// The files of the reference (docs/spec/logs.md).
const (
	fileMode      = 0o644
	dirMode       = 0o744
	rollingName   = "cloudflared.log"
	rollingSize   = 1 // MB
	rollingCopies = 5
)

// Log is the log of one run.
type Log struct {
	Logger *slog.Logger
	file   io.Closer // nil when lines go to the console only

	// gate is behind Logger; ungatedLogger writes to the same outputs without it.
	gate          gate
	ungatedLogger *slog.Logger
	// summing is the work on the checksum of the program.
	summing sync.WaitGroup
}

// Close waits until all lines are written, and ends the log file.
func (l *Log) Close() {
	l.summing.Wait()
	if l.file != nil {
		_ = l.file.Close() // lines are not buffered
	}
}

// Open makes the log that the flags describe, with lines on stderr. Nothing is an error: a flag that makes no sense and a file that
// cannot be written lead to a line.
func Open(s *settings.Settings, stderr io.Writer, home string) *Log {
	level, known := stocklog.ParseLevel(s.Text("loglevel"))
	transport, transportKnown := stocklog.ParseLevel(s.Text("transport-loglevel"))
	output := s.Text("output")
	console := stocklog.Output{Writer: stderr, Encode: stocklog.Console(isTerminal(stderr))}
	if output == "json" {
		console.Encode = stocklog.SortedJSON()
	}
	outputs := []stocklog.Output{console}

	l := &Log{}
	name, file, err := openFile(paths.ExpandHome(s.Text("logfile"), home), paths.ExpandHome(s.Text("log-directory"), home))
	if file != nil {
		outputs = append(outputs, stocklog.Output{Writer: file, Encode: stocklog.JSON()})
		l.file = file
	}
	levels := stocklog.Levels{Lines: level, Transport: transport}
	l.ungatedLogger = telemetry.Tapped(slog.New(stocklog.NewHandler(levels, outputs...)))
	behind := slices.Clone(outputs)
	for i := range behind {
		behind[i].Writer = l.gate.writer(behind[i].Writer)
	}
	l.Logger = telemetry.Tapped(slog.New(stocklog.NewHandler(levels, behind...)))

	if !known {
		l.Logger.Error("unknown log level, using info", slog.String(logkey.Given, s.Text("loglevel")))
	}
	if !transportKnown && known {
		l.Logger.Error("unknown log level, using info", slog.String(logkey.Given, s.Text("transport-loglevel")))
	}
	if s.Text("logfile") != "" && s.Text("log-directory") != "" {
		l.Logger.Error("logfile and log-directory are both given, using logfile",
			slog.String(logkey.File, s.Text("logfile")), slog.String(logkey.Dir, s.Text("log-directory")))
	}
	if output != "" && output != "default" && output != "json" {
		l.Logger.Warn("unknown output format, using default", slog.String(logkey.Given, output))
	}
	if err != nil {
		l.Logger.Warn("log file cannot be written, logging to standard error only", slog.String(logkey.File, name), slog.Any(logkey.Err, err))
	}
	return l
}

// Plain makes a logger in our own form, for commands that are no drop-in. The level is the text of a flag.
func Plain(level string, stderr io.Writer) (*slog.Logger, error) {
	cfg := telemetry.Config{Level: level, Format: telemetry.FormatText}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("log%w", err)
	}
	return telemetry.Tapped(telemetry.NewLogger(cfg, stderr)), nil
}

// openFile opens the log file, or the rolling one in a directory; the file is nil when neither is given or it cannot be written.
func openFile(file, dir string) (name string, w io.WriteCloser, err error) {
	switch {
	case file != "":
		w, err = appendTo(file)
		if err != nil {
			return file, nil, err
		}
		return file, w, nil
	case dir != "":
		name = filepath.Join(dir, rollingName)
		probe, err := appendTo(name) // the library opens the file with the first line, and has no error before
		if err != nil {
			return name, nil, err
		}
		if err := probe.Close(); err != nil {
			return name, nil, err
		}
		return name, &lumberjack.Logger{Filename: name, MaxSize: rollingSize, MaxBackups: rollingCopies}, nil
	}
	return "", nil, nil
}

func appendTo(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, fileMode)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
