package connector

import (
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/services/edge/internal/quota"
	"github.com/culvert-tunnel/culvert/services/edge/internal/share"
)

// When one in loadedPart of the places at the gate is taken, QUIC peers must prove their address first.
const loadedPart = 8

// gate bounds the handshakes of all listeners.
type gate struct {
	// handshakes holds the function that aborts each handshake, or nil.
	handshakes *quota.Table[netip.Prefix, func()]
	loadedAt   int
}

var _ transport.Gate = (*gate)(nil)

func newGate(reg prometheus.Registerer, limits share.Limits) *gate {
	return &gate{
		handshakes: quota.NewTable[netip.Prefix, func()](reg, "connector_handshakes", limits),
		loadedAt:   max(1, int(limits.Total/loadedPart)),
	}
}

// Enter takes a place for a handshake. Without a free place it aborts an older handshake and takes its place.
func (g *gate) Enter(remote netip.AddrPort, abort func()) (leave func(), ok bool) {
	entry, evicted, _ := g.handshakes.Admit(share.Network(remote.Addr()), abort)
	if evicted != nil {
		evicted.Value()
	}
	if entry == nil {
		return nil, false
	}
	if abort == nil {
		g.handshakes.Pin(entry)
	}
	return func() { g.handshakes.Leave(entry) }, true
}

// Loaded reports whether many handshakes run.
func (g *gate) Loaded() bool { return g.handshakes.Len() >= g.loadedAt }
