package sim

import (
	"fmt"
	"time"
)

// Invariant is what must hold. Its text is the name of a finding: runs are compared by it.
type Invariant string

// Every invariant. The numbers are those of docs/design.md section 3; the others follow from the text there and from
// docs/spec/lifecycle.md 14.
const (
	OneHolder        Invariant = "I1 one process per slot and epoch"
	OneGrant         Invariant = "I1 one worker per slot and epoch"
	NewerDrains      Invariant = "I1 of two sessions of an index the older one ends"
	OwnAddress       Invariant = "I2 shared address is repaired"
	TwoRegions       Invariant = "I2 slots in one region are spread again"
	GateFirst        Invariant = "I3 no index starts before the gate is open"
	LastSession      Invariant = "I5 no planned action takes the last session"
	HealthyStays     Invariant = "I5 a healthy session is not replaced after a fault of the control plane"
	ServedAgain      Invariant = "I6 served again in time after a single failure"
	ConnectorBudget  Invariant = "I7 registrations of a connector stay within the budget"
	DeploymentBudget Invariant = "I7 registrations of a deployment stay within the budget"
	Progress         Invariant = "P1 every slot makes progress while a place exists"
	Flap             Invariant = "F1 no fact is told more than four times a minute"
	FlapLead         Invariant = "F1 a lead does not change hands all the time"
	FlapGrant        Invariant = "F1 a slot is not granted to a worker over and over"
	OneConnector     Invariant = "C1 a tunnel keeps its connector id while sessions live"
	LeaderGrants     Invariant = "L1 only the leader grants"
	OldWrites        Invariant = "W1 a write with another epoch than the stored one changes nothing"
	EpochsGrow       Invariant = "W2 the epochs of a slot only grow"
	OneAddress       Invariant = "W3 two live slots never have one address in the store"
	PausedEnds       Invariant = "D1 the sessions of a paused tunnel end"
	CommandOnce      Invariant = "D2 a command is carried out at most once"
	NoDefect         Invariant = "M1 no machine refuses an event"
	NoPanic          Invariant = "M2 no program panics"
)

// Invariants lists all of them.
func Invariants() []Invariant {
	return []Invariant{
		OneHolder, OneGrant, NewerDrains, OwnAddress, TwoRegions, GateFirst, LastSession, HealthyStays, ServedAgain,
		ConnectorBudget, DeploymentBudget, Progress, Flap, FlapLead, FlapGrant, OneConnector, LeaderGrants, OldWrites,
		EpochsGrow, OneAddress, PausedEnds, CommandOnce, NoDefect, NoPanic,
	}
}

// The bounds.
const (
	// repairTime is how long two slots may share an address while another one is free.
	repairTime = 30 * time.Second
	// spreadTime is the same for slots that are all in one region.
	spreadTime = time.Minute
	// servedTime is the bound after a single failure, with a place to go to.
	servedTime = 45 * time.Second
	// progressTime is the bound after any number of failures, with a place to go to.
	progressTime = 2 * time.Minute
	// doubleTime is how long two sessions of an index may stand side by side when both holders can read the store.
	doubleTime = time.Minute
	// single is the time around a failure in which there must be no other one for servedTime to apply.
	single = time.Minute
	// settledTime is how long a process must have had no trouble with the store to count as healthy.
	settledTime = 10 * time.Second
	// budget of registrations: one per second, and a burst. One more than allowed covers what happens on the way.
	connectorBurst      = 2 + 1
	deploymentRate      = 50
	flapCount, flapTime = 4, time.Minute
	patience            = time.Minute // the longest wait that an edge may ask for
	// rejectedWait is the longest wait after a refusal for good (docs/spec/lifecycle.md 15), and some time.
	rejectedWait = 10 * time.Minute
	// leaderSlack is how long a supervisor may not know that others have joined, and how long its last call may then take.
	leaderSlack = 3 * time.Second
	placeTime   = 20 * time.Second // how long a place must exist before a drain may not fail

)

// Violation is an invariant that did not hold.
type Violation struct {
	Invariant Invariant
	At        time.Duration
	// Subject is the slot, or what else is concerned.
	Subject string
	// Want is what was expected, and what was seen.
	Want string
}

// String is one line for people.
func (v Violation) String() string {
	return fmt.Sprintf("%.3fs %s: %s: %s", v.At.Seconds(), v.Invariant, v.Subject, v.Want)
}
