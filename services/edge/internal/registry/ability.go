package registry

import (
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// ability is what a connector supports, derived once from its registration.
type ability struct {
	frames, interim, halfClose, bundles, fragments, upgrades, datagramV3, own bool
}

func abilityOf(info *Info) ability {
	streams := slices.Contains(info.Features, protocol.FeatureStreams)
	return ability{
		frames:    streams || info.Protocol == tunnel.HTTP2, // over HTTP/2 the transport converts between frames and trailers
		interim:   streams,
		halfClose: streams,
		bundles:   slices.Contains(info.Features, protocol.FeatureDatagrams),
		fragments: slices.Contains(info.Features, protocol.FeatureFragments),
		upgrades:  slices.Contains(info.Features, protocol.FeatureUpgrades),
		own: slices.ContainsFunc(info.Features, func(f string) bool {
			return slices.Contains(protocol.Extensions(), f)
		}),
		datagramV3: slices.Contains(info.Features, protocol.FeatureDatagramV3),
	}
}

// EpochOf is the number in the epoch feature of a registration. Without that feature, or with one that has no number, it is 0.
func EpochOf(features []string) tunnel.Epoch {
	for _, f := range features {
		if text, ok := strings.CutPrefix(f, protocol.FeatureEpoch); ok {
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				return tunnel.Epoch(n)
			}
		}
	}
	return 0
}

// OwnKind reports whether the connector is of this project: it announced one of its extensions.
func (c *Conn) OwnKind() bool { return c.can.own }

// Frames reports whether bodies may be framed on the connection, so that they can have trailers.
func (c *Conn) Frames() bool { return c.can.frames }

// Interim reports whether the connector may send interim (1xx) responses.
func (c *Conn) Interim() bool { return c.can.interim }

// HalfClose reports whether FIN may be sent on an upgraded stream while its response goes on (docs/spec/wire.md 5.5).
func (c *Conn) HalfClose() bool { return c.can.halfClose }

// Bundles reports whether a payload bundled with a UDP session's registration is delivered.
func (c *Conn) Bundles() bool { return c.can.bundles }

// Upgrades reports whether requests for other protocols than WebSocket can be passed on.
func (c *Conn) Upgrades() bool { return c.can.upgrades }

// Fragments reports whether the connector takes and sends UDP payloads in fragments.
func (c *Conn) Fragments() bool { return c.can.fragments }

// DatagramV3 reports whether the connector speaks datagram v3 (docs/spec/wire.md 11), and not v2.
func (c *Conn) DatagramV3() bool { return c.can.datagramV3 }
