package flow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/limit"
)

const (
	// minHeadBytes has room for an ordinary request.
	minHeadBytes = 8 << 10
	// minTargetBytes is the least length of a target that every recipient should support, rounded up (RFC 9110 4.1).
	minTargetBytes = 8 << 10
)

// Config is what a Handler needs to know.
type Config struct {
	Tags       []Tag
	SpoolLimit int64
	Streams    Streams
	Limits     Limits
	// Dialer opens private-network connections, and Flows limits how many there are.
	Dialer Dialer
	Flows  *limit.Flows
	// Management serves the requests for the management host.
	Management Management
	// Logs are the loggers of what is about one request or stream.
	Logs Loggers
}

// Loggers tell lines about requests from those about streams of private networks. One that is nil is the logger of the handler.
type Loggers struct{ HTTP, TCP *slog.Logger }

// Dialer opens private-network connections; *dialer.Registry is one.
type Dialer interface {
	// DialTCP connects to dst for a flow of a tunnel.
	DialTCP(ctx context.Context, id tunnel.ID, dst netip.AddrPort) (net.Conn, error)
}

// Limits bound what edges and visitors can make a proxy hold (docs/limits.md). A zero is no limit, or for the size of a head
// the default.
type Limits struct {
	Flows int `yaml:"flows" usage:"most requests and streams at a time; further ones are refused; 0 is no limit"`
	// FlowsPerTunnel bounds one tunnel. Without it a tunnel may have all, but never the last quarter beyond its equal share while
	// others have requests, too.
	FlowsPerTunnel int `yaml:"flows_per_tunnel" usage:"most requests and streams of one tunnel at a time; 0 is no limit"`

	HeadTimeout time.Duration `yaml:"head_timeout" usage:"time within which the head of a request must be there; 0 is no limit"`
	HeadBytes   int           `yaml:"head_bytes" usage:"largest head of a request, with all its headers, in bytes"`
	TargetBytes int           `yaml:"target_bytes" usage:"largest path and query of a request together, in bytes; status 414 beyond"`

	// Fields bounds the header and the trailers of requests and responses. A request gets a little more than a response, as
	// the edge adds fields of its own.
	Fields httpfield.Limits `yaml:"fields"`
}

// DefaultLimits holds the defaults of Limits.
func DefaultLimits() Limits {
	return Limits{
		Flows: 50_000, HeadTimeout: 10 * time.Second, HeadBytes: maxHead, TargetBytes: 16 << 10, Fields: httpfield.DefaultLimits(),
	}
}

// Validate reports every problem of the section limits, each with its path.
func (l Limits) Validate() error {
	var errs []error
	report := func(format string, args ...any) { errs = append(errs, fmt.Errorf("limits: "+format, args...)) }
	if l.Flows < 0 {
		report("flows: %d is negative", l.Flows)
	}
	if l.FlowsPerTunnel < 0 {
		report("flows_per_tunnel: %d is negative", l.FlowsPerTunnel)
	}
	if l.HeadTimeout < 0 {
		report("head_timeout: %s is negative", l.HeadTimeout)
	}
	if err := l.Fields.Validate(); err != nil {
		report("fields: %w", err)
	}
	if l.TargetBytes < minTargetBytes {
		report("target_bytes: %d is less than %d", l.TargetBytes, minTargetBytes)
	}
	if l.HeadBytes < minHeadBytes || l.HeadBytes > stream.MaxReferenceMessage {
		report("head_bytes: %d is not between %d and %d", l.HeadBytes, minHeadBytes, stream.MaxReferenceMessage)
	}
	return errors.Join(errs...)
}

// Streams bounds websockets, TCP and stream services (docs/origins.md). Zero is no limit, and no pings.
type Streams struct {
	HalfCloseIdle time.Duration `yaml:"half_close_idle" usage:"how long a half-closed stream may be silent; 0 is for ever"`
	WriteTimeout  time.Duration `yaml:"write_timeout" usage:"limit of one write to an origin; 0 is none"`
	PingInterval  time.Duration `yaml:"ping_interval" usage:"time between pings to websocket clients of stream services; 0 sends none"`
	SocksTimeout  time.Duration `yaml:"socks_timeout" usage:"limit of a SOCKS handshake; 0 is none"`
}

// DefaultStreams holds the defaults of Streams.
func DefaultStreams() Streams {
	return Streams{
		HalfCloseIdle: 5 * time.Minute,
		PingInterval:  54 * time.Second, // as the reference; below the minute after which many middleboxes forget
		SocksTimeout:  30 * time.Second,
	}
}

// Validate reports every problem of the section streams, each with its path.
func (s Streams) Validate() error {
	var errs []error
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"half_close_idle", s.HalfCloseIdle},
		{"write_timeout", s.WriteTimeout},
		{"ping_interval", s.PingInterval},
		{"socks_timeout", s.SocksTimeout},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("streams: %s: %s is negative", d.key, d.value))
		}
	}
	return errors.Join(errs...)
}
