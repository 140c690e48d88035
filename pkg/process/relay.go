package process

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/culvert-tunnel/culvert/pkg/logtail"
)

// LogRelay is the part of a process that sends its log lines to the log streams that a proxy in another process serves.
func LogRelay(store logtail.Store, logger *slog.Logger) Runner {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	return logtail.NewRelay(store, logger, filepath.Base(os.Args[0])+"@"+name)
}
