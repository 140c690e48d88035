package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is one thing that goes wrong, as explicit data: a plan of faults can be printed, kept and made smaller.
type Fault struct {
	At   Duration `json:"at"`
	Kind Kind     `json:"kind"`
	// For is how long it lasts; zero for what happens in a moment.
	For Duration `json:"for,omitzero"`
	// Target is the id of a process, a host, an edge, an address, a region or the number of a tunnel; empty is everything.
	Target string `json:"target,omitempty"`
	// Op is the command of the store that is hit; empty is every one.
	Op string `json:"op,omitempty"`
	// Chance is the probability that a call is hit; zero is always.
	Chance float64 `json:"chance,omitempty"`
	// N is the number that the kind needs: writes that are lost, or which field is damaged.
	N int `json:"n,omitempty"`
	// By is the time that the kind needs: the step of a clock, the age of a restored state, the wait that an edge asks for.
	By Duration `json:"by,omitzero"`
}

// Kind is what goes wrong.
type Kind string

// Every kind of fault.
const (
	LoseRequest   Kind = "store-lose-request" // requests are lost
	LoseReply     Kind = "store-lose-reply"   // requests are executed, replies are lost
	Late          Kind = "store-late"         // requests are executed after their time-out
	Delay         Kind = "store-delay"        // requests and replies take up to By longer
	Cut           Kind = "store-cut"          // calls are refused at once
	ReadOnly      Kind = "store-readonly"
	OutOfMemory   Kind = "store-oom"
	Loading       Kind = "store-loading"
	ShardDown     Kind = "store-shard"    // keys of one tunnel cannot be used
	Emptied       Kind = "store-emptied"  // all data is lost
	Restored      Kind = "store-restored" // the data is as it was By ago
	Failover      Kind = "store-failover" // the last N writes are lost, the new server's clock differs by By
	Pause         Kind = "pause"          // a process is stopped, and goes on
	Kill          Kind = "kill"           // a process dies and stays away
	Restart       Kind = "restart"        // a process dies and is started again with the same id
	Double        Kind = "double"         // a second process with the same id runs beside the first
	DrainWorker   Kind = "drain"          // a worker ends in good order, and is started again
	Rolling       Kind = "rolling"        // all workers do so, one after the other
	Join          Kind = "join"           // a further worker starts
	EdgeRefuses   Kind = "edge-refuse"
	EdgeHangs     Kind = "edge-hang"
	EdgeCloses    Kind = "edge-close" // accepts, and closes at once
	EdgeFlaps     Kind = "edge-flap"  // registers, and closes at once
	EdgeDuplicate Kind = "edge-duplicate"
	EdgeFences    Kind = "edge-fence"
	EdgePostpones Kind = "edge-postpone" // asks to come back after By
	EdgeRejects   Kind = "edge-reject"   // refuses the credentials for good
	EdgeStops     Kind = "edge-stop"     // responds to nothing, also on established sessions
	EdgeDrops     Kind = "edge-drop"     // closes all sessions once
	PoolShrinks   Kind = "pool-shrink"   // DNS gives fewer addresses
	PoolEmpty     Kind = "pool-empty"    // DNS gives no address
	PoolFails     Kind = "pool-fail"     // DNS does not respond
	PoolFamily    Kind = "pool-family"   // DNS gives addresses of the other family only
	HostUDP       Kind = "host-udp"      // a host cannot send UDP
	HostEdge      Kind = "host-edge"     // a host cannot reach any edge
	BadSlot       Kind = "bad-slot"      // a field of a slot's record cannot be read
	BadWorker     Kind = "bad-worker"    // a worker's registration cannot be read
	BadPool       Kind = "bad-pool"      // the pool's record cannot be read
	BadConnector  Kind = "bad-connector" // the record of a connector's id cannot be read
	BadLead       Kind = "bad-lead"      // the record of a leader lease cannot be read
	Future        Kind = "bad-future"    // a record has fields and values that a later version may write
)

// String is one line for people.
func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%8.3fs %s", time.Duration(f.At).Seconds(), f.Kind)
	add := func(set bool, format string, value any) {
		if set {
			fmt.Fprintf(&b, format, value)
		}
	}
	add(f.Target != "", " of %v", f.Target)
	add(f.Op != "", " op %v", f.Op)
	add(f.Chance != 0, " chance %.2f", f.Chance)
	add(f.N != 0, " n %v", f.N)
	add(f.By != 0, " by %v", time.Duration(f.By))
	add(f.For != 0, " for %v", time.Duration(f.For))
	return b.String()
}

// Duration is a duration that JSON has as text.
type Duration time.Duration

// MarshalText is the form of time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText accepts what time.ParseDuration accepts.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// The number of faults of a run, and how long they last.
const (
	fewFaults            = 2
	minFaults, maxFaults = 5, 11
	shortest, longest    = 100 * time.Millisecond, 60 * time.Second
	largestStep          = time.Hour
	mostLost             = 24 // writes that a failover loses
)

// NewPlan draws the faults of a run: of all kinds, or only of the given ones.
func NewPlan(r *rand.Rand, s *Spec, only ...Kind) []Fault {
	kinds := slices.DeleteFunc(drawable(), func(d drawing) bool { return len(only) > 0 && !slices.Contains(only, d.kind) })
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	var plan []Fault
	for _, at := range drawTimes(r, s) {
		n := r.IntN(total)
		i := slices.IndexFunc(kinds, func(k drawing) bool { n -= k.weight; return n < 0 })
		f := kinds[i].draw(r, s)
		f.Kind = kinds[i].kind
		f.At = Duration(at.Round(time.Millisecond))
		f.For, f.By = Duration(time.Duration(f.For).Round(time.Millisecond)), Duration(time.Duration(f.By).Round(time.Millisecond))
		plan = append(plan, f)
	}
	slices.SortStableFunc(plan, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return plan
}

// drawTimes draws when faults begin. One plan in four has a few that are far apart, so that each meets a healthy deployment; in the
// others they are spread by chance, and some follow so soon upon another one that they meet its repair.
func drawTimes(r *rand.Rand, s *Spec) []time.Duration {
	var times []time.Duration
	if r.IntN(4) == 0 {
		at := between(r, s.Warmup, s.Warmup+10*time.Second)
		for range fewFaults {
			times = append(times, at)
			at += between(r, single+10*time.Second, 2*single)
		}
		return times
	}
	for i := range minFaults + r.IntN(maxFaults-minFaults+1) {
		at := between(r, s.Warmup, s.Warmup+s.Faults)
		if i > 0 && r.IntN(2) == 0 {
			at = times[r.IntN(i)] + logBetween(r, 10*time.Millisecond, 20*time.Second)
		}
		times = append(times, at)
	}
	slices.Sort(times)
	return times
}

// drawing is how a kind of fault is drawn, and how often.
type drawing struct {
	kind   Kind
	weight int
	draw   func(r *rand.Rand, s *Spec) Fault
}

func drawable() []drawing {
	return []drawing{
		{LoseRequest, 2, drawCalls},
		{LoseReply, 3, drawCalls},
		{Late, 3, drawCalls},
		{Delay, 3, drawDelay},
		{Cut, 4, drawCalls},
		{ReadOnly, 1, drawSpan},
		{OutOfMemory, 1, drawSpan},
		{Loading, 1, drawSpan},
		{ShardDown, 2, drawTunnel},
		{Emptied, 2, drawMoment},
		{Restored, 2, drawRestored},
		{Failover, 4, drawFailover},
		{Pause, 6, drawAnyProcess},
		{Kill, 3, drawWorkerOrSupervisor},
		{Restart, 4, drawAnyProcess},
		{Double, 2, drawWorkerOrSupervisor},
		{DrainWorker, 4, drawWorker},
		{Rolling, 1, drawRolling},
		{Join, 2, drawJoin},
		{EdgeRefuses, 2, drawEdge},
		{EdgeHangs, 3, drawEdge},
		{EdgeCloses, 2, drawEdge},
		{EdgeFlaps, 2, drawEdge},
		{EdgeDuplicate, 1, drawEdge},
		{EdgeFences, 1, drawEdge},
		{EdgePostpones, 2, drawPostpone},
		{EdgeRejects, 1, drawEdge},
		{EdgeStops, 3, drawEdge},
		{EdgeDrops, 3, drawDrop},
		{PoolShrinks, 2, drawPool},
		{PoolEmpty, 1, drawPool},
		{PoolFails, 1, drawPool},
		{PoolFamily, 1, drawPool},
		{HostUDP, 2, drawHost},
		{HostEdge, 3, drawHost},
		{BadSlot, 2, drawRecord},
		{BadWorker, 2, drawWorkerRecord},
		{BadPool, 1, drawRecord},
		{BadConnector, 1, drawTunnelRecord},
		{BadLead, 1, drawRecord},
		{Future, 2, drawRecord},
	}
}

// Kinds lists every kind of fault, in the order of the table.
func Kinds() []Kind {
	var kinds []Kind
	for _, d := range drawable() {
		kinds = append(kinds, d.kind)
	}
	return kinds
}
