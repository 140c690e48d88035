package runlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/redact"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// mask is what the reference shows in the place of a secret.
const mask = "*****"

// Start logs which tunnel runs, the program, the settings in force, and what is odd about them. file is nil when there is none. It
// returns before the checksum of the program is known; that line, and all after it, are written a moment later.
func (l *Log) Start(ctx context.Context, id tunnel.ID, s *settings.Settings, file *cfdfile.File, environ []string) {
	l.Logger.InfoContext(ctx, "tunnel starts", slog.String(logkey.TunnelID, id.String()))
	l.configurationFile(ctx, s, file)
	l.program(ctx)
	if given := s.AsReference(mask); len(given) > 0 {
		l.Logger.InfoContext(ctx, "settings", slog.String(logkey.Given, fmt.Sprint(given)))
	}
	if vars := variables(environ); len(vars) > 0 {
		l.Logger.InfoContext(ctx, "environment", slog.String(logkey.Given, fmt.Sprint(vars)))
	}
	for _, name := range []string{"token", "credentials-contents"} {
		if s.Source(name) == settings.FromCommandLine {
			l.Logger.WarnContext(ctx, "secret on the command line, where every user of this host can read it; use a file or the environment",
				slog.String(logkey.Flag, name))
		}
	}
	for _, idle := range s.WithoutEffect() {
		level := slog.LevelInfo
		if idle.Effect == settings.Later {
			level = slog.LevelWarn
		}
		l.Logger.Log(ctx, level, "flag without effect", slog.String(logkey.Flag, idle.Flag), slog.String(logkey.Reason, idle.Reason))
	}
}

// program logs what runs here. Everything that is logged meanwhile comes after it, so the line has the time at which it was due.
func (l *Log) program(ctx context.Context) {
	l.gate.shut()
	logger := slog.New(dated{l.ungatedLogger.Handler(), time.Now()})
	l.summing.Go(func() {
		logger.InfoContext(ctx, "program", slog.String(logkey.Version, process.Version()), slog.String(logkey.Checksum, checksum()),
			slog.String(logkey.OS, runtime.GOOS), slog.String(logkey.GoVersion, runtime.Version()), slog.String(logkey.Arch, runtime.GOARCH))
		l.gate.open()
	})
}

func (l *Log) configurationFile(ctx context.Context, s *settings.Settings, file *cfdfile.File) {
	switch {
	case file == nil && s.Text("token") == "":
		l.Logger.InfoContext(ctx, "no configuration file found")
	case file == nil:
	case file.Empty:
		l.Logger.ErrorContext(ctx, "configuration file is empty", slog.String(logkey.File, file.Path))
	default:
		l.Logger.DebugContext(ctx, "configuration file read", slog.String(logkey.File, file.Path))
		if len(file.UnusedKeys) > 0 {
			l.Logger.WarnContext(ctx, "configuration file has unused keys", slog.Any(logkey.Keys, file.UnusedKeys))
		}
	}
}

// Signal logs the signal that ends ctx, when it does. stop must be called when ctx is of no more use; it waits for the line.
func (l *Log) Signal(ctx context.Context) (stop func()) {
	logged := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(logged)
		var sig process.SignalError
		if errors.As(context.Cause(ctx), &sig) {
			l.Logger.InfoContext(ctx, "signal received", slog.String(logkey.Signal, sig.String()))
		}
	})
	return func() {
		if !unhook() {
			<-logged
		}
	}
}

// End logs that all parts have ended; err is why, when it was no signal.
func (l *Log) End(ctx context.Context, err error) {
	if err != nil {
		l.Logger.ErrorContext(ctx, "connector failed", slog.Any(logkey.Err, err))
	}
	l.Logger.InfoContext(ctx, "connector stopped")
}

// variables lists the variables that the reference shows, all whose names or values contain TUNNEL_, without secrets.
func variables(environ []string) map[string]string {
	out := make(map[string]string)
	for _, kv := range environ {
		name, val, ok := strings.Cut(kv, "=")
		if !ok || !strings.Contains(name, "TUNNEL_") {
			continue
		}
		if out[name] = redact.URL(val); redact.SecretName(name) || name == "TUNNEL_CRED_CONTENTS" {
			out[name] = mask
		}
	}
	return out
}

// checksum is the SHA-256 of this program, "" when its file cannot be read.
func checksum() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	if _, err := io.CopyBuffer(yielding{h}, struct{ io.Reader }{f}, make([]byte, sumPiece)); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sumPiece is how much of the program is read at once for its checksum.
const sumPiece = 64 << 10

// yielding lets all other goroutines go first after each piece: on a host with one processor the first dial would else wait for the
// checksum.
type yielding struct{ io.Writer }

func (y yielding) Write(p []byte) (int, error) {
	n, err := y.Writer.Write(p)
	runtime.Gosched()
	return n, err
}
