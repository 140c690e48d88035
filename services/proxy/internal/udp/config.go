package udp

import (
	"errors"
	"fmt"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
)

// Config is the configuration of UDP sessions.
type Config struct {
	MaxSessions   int           `yaml:"max_sessions" usage:"limit of UDP sessions, each with a socket; the flow limit of the rules counts as well"`
	OrphanTimeout time.Duration `yaml:"orphan_timeout" usage:"how long a UDP session waits for another worker when its own is lost"`
	QueueBytes    int           `yaml:"queue_bytes" usage:"bytes of datagrams that may wait for one worker"`
	KeptBytes     int           `yaml:"kept_bytes" usage:"bytes of datagrams that may wait in all UDP sessions whose worker is lost"`
}

// Default holds all defaults.
func Default() Config {
	return Config{MaxSessions: 16384, OrphanTimeout: time.Minute, QueueBytes: 1 << 20, KeptBytes: 64 << 20}
}

// Validate reports every problem, each with its path.
func (c Config) Validate() error {
	var errs []error
	if c.MaxSessions < 1 {
		errs = append(errs, fmt.Errorf("max_sessions: %d is less than 1", c.MaxSessions))
	}
	if c.OrphanTimeout < 0 {
		errs = append(errs, fmt.Errorf("orphan_timeout: %s is negative", c.OrphanTimeout))
	}
	if c.QueueBytes < packet.MaxSize {
		errs = append(errs, fmt.Errorf("queue_bytes: %d is less than %d, one message", c.QueueBytes, packet.MaxSize))
	}
	if c.KeptBytes < 0 {
		errs = append(errs, fmt.Errorf("kept_bytes: %d is negative", c.KeptBytes))
	}
	return errors.Join(errs...)
}

// Bounds of a session that are no settings.
const (
	// keptResponses is how many datagrams of the origin wait while there is no flow to send them on.
	keptResponses = 256
	// queuedWrites is how many datagrams wait for a socket that takes no more.
	queuedWrites = 512
	// writeTimeout bounds the writing of each of them.
	writeTimeout = 200 * time.Millisecond
	// endTime bounds what a flow may take to send its last messages after the worker's FIN.
	endTime = 5 * time.Second
)
