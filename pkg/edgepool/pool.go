package edgepool

import (
	"net/netip"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Source says where a pool came from.
type Source string

// The sources of a pool (docs/spec/lifecycle.md 6, D of discovery).
const (
	SourceSRV    Source = "srv"
	SourceDoT    Source = "dot"
	SourceStatic Source = "static"
	SourceCached Source = "cached"
)

// Pool is a snapshot of all edge addresses. Its version only grows; consumers keep the last good one for ever.
type Pool struct {
	Version uint64 `json:"version"`
	Source  Source `json:"source"`
	// FetchedAt is for people; no decision compares it.
	FetchedAt time.Time    `json:"fetched_at"`
	Regions   []RegionPool `json:"regions"`
	// ProtocolTXT and FeatureTXT are the published TXT records, verbatim; empty when unknown (docs/spec/wire.md 2.4).
	ProtocolTXT string `json:"protocol_txt,omitempty"`
	FeatureTXT  string `json:"feature_txt,omitempty"`
}

// RegionPool holds the addresses of one region, split by family, each in the order the resolver gave.
type RegionPool struct {
	Name tunnel.Region    `json:"name"`
	V4   []netip.AddrPort `json:"v4,omitempty"`
	V6   []netip.AddrPort `json:"v6,omitempty"`
	// PreferV6 says that the first address the resolver gave for this region was an IPv6 one.
	PreferV6 bool `json:"prefer_v6,omitempty"`
}
