package datapath

import (
	"log/slog"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/conn"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/udp"
)

type (
	// Applier puts configurations in force that an edge pushes.
	Applier = relay.Applier
	// Unsupported is an Applier that rejects every configuration.
	Unsupported = relay.Unsupported
	// StreamLimits bound the streams of an edge.
	StreamLimits = relay.Limits
	// DatagramLimits bound the UDP sessions of a connection.
	DatagramLimits = udp.Limits
)

// Observer receives what the metrics show.
type Observer interface {
	relay.Observer
	udp.Observer
}

// Config is what all sessions of a worker share.
type Config struct {
	// Carrier carries streams and datagrams to a proxy.
	Carrier link.Carrier
	// Proxies lists the proxies of the carrier; it is nil when the carrier has none to choose from.
	Proxies  func() []tunnel.ProxyID
	Applier  Applier
	Observer Observer
	Logger   *slog.Logger
	// RPCTimeout bounds the calls of the edge.
	RPCTimeout time.Duration
	Streams    StreamLimits
	Datagrams  DatagramLimits
}

// New makes the function that serves sessions.
func New(c Config) conn.Serve {
	datagrams := udp.New(udp.Config{
		Carrier: c.Carrier, Proxies: c.Proxies, Observer: c.Observer, Logger: c.Logger, RPCTimeout: c.RPCTimeout, Limits: c.Datagrams,
	})
	streams := relay.New(relay.Config{
		Carrier: c.Carrier, Applier: c.Applier, Observer: c.Observer, Logger: c.Logger, RPCTimeout: c.RPCTimeout, Limits: c.Streams,
		Datagrams: func(s transport.Session, meta link.Meta, o relay.Options) relay.Datagrams {
			version := udp.V2
			if o.DatagramV3 {
				version = udp.V3
			}
			return datagrams.Session(s, meta, version)
		},
	})
	return func(s transport.Session, meta link.Meta, datagramV3 bool) conn.Serving {
		return streams.Session(s, meta, relay.Options{DatagramV3: datagramV3})
	}
}
