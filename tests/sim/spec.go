package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/protocol"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// WorkerSpec is what a worker is started with.
type WorkerSpec struct {
	ID, Host    string
	Tunnels     []fleet.TunnelRef
	Capacity    int
	Pool        string
	Family      edgepool.Family
	Protocol    protocol.Choice
	ReturnAfter time.Duration
	Grace       time.Duration
	RPCTimeout  time.Duration
	Retries     int
	Connections uint8
	// Legacy is a version that renews the lease of each slot, and keeps none of the whole worker. Unmarked is a version that marks no tunnels
	// dirty.
	Legacy, Unmarked bool
	// Lazy is keep.Config.Lazy.
	Lazy bool
}

// SupervisorSpec is what a supervisor is started with.
type SupervisorSpec struct {
	ID, Host    string
	Connections int
	Tick        time.Duration
	// Legacy is a version that knows nothing of leases of whole workers. Alone is one in which a single supervisor leads.
	Legacy, Alone bool
}

// alone reports whether the supervisor is of a version in which a single one leads.
func (s *SupervisorSpec) alone() bool { return s.Legacy || s.Alone }

// DiscoverySpec is what a discovery is started with. Lookup asks DNS.
type DiscoverySpec struct {
	ID, Host string
	Pool     string
	Refresh  time.Duration
	Lookup   func(done func(edgepool.Pool, error))
}

// Spec is a deployment and the times of its run.
type Spec struct {
	Tunnels     []tunnel.ID
	Connections int
	Workers     []WorkerSpec
	Supervisors []SupervisorSpec
	Discoveries []DiscoverySpec
	// Edges lists the edges; each has several addresses of one region.
	Edges []EdgeSpec
	// StoreLatency and EdgeLatency are the usual times of one way.
	StoreLatency, EdgeLatency time.Duration
	// Warmup is the time before the first fault, Faults the time in which faults begin, Quiet the time after the last has ended.
	Warmup, Faults, Quiet time.Duration
}

// EdgeSpec is one edge.
type EdgeSpec struct {
	Name   string
	Region tunnel.Region
	Addrs  []netip.AddrPort
}

// The times of every run.
const (
	warmup     = 30 * time.Second
	faultTime  = 80 * time.Second
	quietTime  = 140 * time.Second
	poolName   = "default"
	rpcTimeout = 5 * time.Second
)

// NewSpec draws a deployment.
func NewSpec(r *rand.Rand) Spec {
	s := Spec{
		Connections:  2 + r.IntN(3),
		StoreLatency: logBetween(r, 200*time.Microsecond, 100*time.Millisecond),
		EdgeLatency:  between(r, time.Millisecond, 40*time.Millisecond),
		Warmup:       warmup, Faults: faultTime, Quiet: quietTime,
	}
	for i := range 1 + r.IntN(3) {
		s.Tunnels = append(s.Tunnels, tunnel.ID{0: byte(i + 1), 15: 1})
	}
	if r.IntN(12) == 0 { // many tunnels and a slow store make long passes
		for i := len(s.Tunnels); i < 10; i++ {
			s.Tunnels = append(s.Tunnels, tunnel.ID{0: byte(i + 1), 15: 1})
		}
		s.Connections = 2
		s.StoreLatency = max(s.StoreLatency, between(r, time.Millisecond, 100*time.Millisecond))
	}
	s.addEdges(r)
	s.addWorkers(r)
	for i := range 1 + r.IntN(3) {
		s.Supervisors = append(s.Supervisors, SupervisorSpec{
			ID: fmt.Sprint("s", i+1), Host: fmt.Sprint("hs", i+1), Connections: s.Connections, Tick: time.Second,
		})
	}
	for i := range 1 + r.IntN(2) {
		s.Discoveries = append(s.Discoveries, DiscoverySpec{
			ID: fmt.Sprint("d", i+1), Host: fmt.Sprint("hd", i+1), Pool: poolName, Refresh: between(r, 10*time.Second, time.Minute),
		})
	}
	if r.IntN(10) == 0 { // in the middle of an upgrade
		for i := range s.Workers {
			s.Workers[i].Legacy = r.IntN(2) == 0
			s.Workers[i].Unmarked = i%2 == 0
		}
		for i := range s.Supervisors {
			s.Supervisors[i].Legacy, s.Supervisors[i].Alone = r.IntN(2) == 0, i%2 == 0
		}
	}
	return s
}

// share gives the deployment so many supervisors, none of a former version, and tunnels for all of them.
func (s *Spec) share(supervisors int) {
	for i := len(s.Tunnels); i < 5; i++ {
		id := tunnel.ID{0: byte(i + 1), 15: 1}
		s.Tunnels = append(s.Tunnels, id)
		for n := range s.Workers {
			s.Workers[n].Tunnels = append(slices.Clone(s.Workers[n].Tunnels), fleet.TunnelRef{ID: id, Pool: poolName})
		}
	}
	first := s.Supervisors[0]
	s.Supervisors = nil
	for i := range supervisors {
		first.ID, first.Host, first.Legacy, first.Alone = fmt.Sprint("s", i+1), fmt.Sprint("hs", i+1), false, false
		s.Supervisors = append(s.Supervisors, first)
	}
}

// addEdges makes two regions of one or two edges each, with more addresses than a connector has connections.
func (s *Spec) addEdges(r *rand.Rand) {
	perRegion := 1 + r.IntN(2)
	number := 0
	for region := range 2 {
		for i := range perRegion {
			e := EdgeSpec{Name: fmt.Sprintf("e%d%c", region+1, 'a'+i), Region: tunnel.Region(fmt.Sprint("region", region+1))}
			for range 2 + r.IntN(2) {
				number++
				e.Addrs = append(e.Addrs,
					netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(number)}), 7844),
					netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: byte(number)}), 7844))
			}
			s.Edges = append(s.Edges, e)
		}
	}
}

func (s *Spec) addWorkers(r *rand.Rand) {
	var refs []fleet.TunnelRef
	for _, id := range s.Tunnels {
		refs = append(refs, fleet.TunnelRef{ID: id, Pool: poolName})
	}
	hosts := 2 + r.IntN(2)
	graces := []time.Duration{30 * time.Second, 30 * time.Second, 10 * time.Second, 0}
	grace := graces[r.IntN(len(graces))]
	for i := range 2 + r.IntN(3) {
		s.Workers = append(s.Workers, WorkerSpec{
			ID: fmt.Sprint("w", i+1), Host: fmt.Sprint("h", i%hosts+1), Tunnels: refs, Capacity: 64, Pool: poolName,
			Protocol: protocol.Auto, ReturnAfter: time.Minute, Grace: grace, RPCTimeout: rpcTimeout, Retries: 5,
			Connections: uint8(s.Connections),
		})
	}
}

// pool is the pool of all edges.
func (s *Spec) pool() edgepool.Pool {
	var regions []edgepool.RegionPool
	for _, name := range []tunnel.Region{"region1", "region2"} {
		var addrs []netip.AddrPort
		for _, e := range s.Edges {
			if e.Region == name {
				addrs = append(addrs, e.Addrs...)
			}
		}
		regions = append(regions, edgepool.NewRegion(name, addrs))
	}
	return edgepool.Pool{Source: edgepool.SourceSRV, Regions: regions}
}

// between is uniform in [low, high).
func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// logBetween is between with a uniform logarithm: short times are as likely as long ones.
func logBetween(r *rand.Rand, low, high time.Duration) time.Duration {
	ratio := float64(high) / float64(low)
	return time.Duration(float64(low) * math.Pow(ratio, r.Float64()))
}
