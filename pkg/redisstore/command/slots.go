package command

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// maxBucketWait is the longest that the registration bucket may hold a slot back (docs/spec/lifecycle.md 14.4).
const maxBucketWait = 30 * time.Second

// Slots reads every slot of a connector that was ever granted, by index.
func Slots(id tunnel.ID, connector tunnel.ConnectorID) Request[lease.Table] {
	const op = "read slots"
	return Request[lease.Table]{
		Op:      op,
		Command: Command{Script: scriptSlots, Keys: []string{slotsKey(id, connector)}},
		Decode:  table(op, id, connector),
	}
}

// SlotsUnder is Slots for a leader: it raises the connector's fence to the term, so that grants of former leaders are refused. A
// lease.OvertakenError says that a newer leader did so before.
func SlotsUnder(term lease.Term, id tunnel.ID, connector tunnel.ConnectorID) Request[lease.Table] {
	const op = "read slots"
	decode := table(op, id, connector)
	return Request[lease.Table]{
		Op: op,
		Command: Command{
			Script: scriptSlots, Keys: []string{slotsKey(id, connector), fenceKey(id, connector)}, Args: []string{formatTerm(term)},
		},
		Decode: func(reply any) (lease.Table, error) {
			if err := overtaken(op, reply); err != nil {
				return lease.Table{}, err
			}
			return decode(reply)
		},
	}
}

// overtaken is the error in the reply {"term", term of a newer leader}, or nil.
func overtaken(op string, reply any) error {
	words, err := texts(op, reply)
	if err != nil || len(words) != 2 || words[0] != "term" {
		return nil //nolint:nilerr // another reply, which its decoder judges
	}
	term, err := strconv.ParseUint(words[1], 10, 63)
	if err != nil {
		return badReply(op, reply)
	}
	return fmt.Errorf("%s: %w", op, &lease.OvertakenError{Term: lease.Term(term)})
}

// Grant is GrantUnder without a lead: the store refuses it for a connector that a leader has ever read. Tests make their slots with it.
func Grant(g lease.Grant, expect tunnel.Epoch, ttl time.Duration, ended ...lease.Ended) (Request[lease.Grant], error) {
	return GrantUnder(0, g, expect, ttl, ended...)
}

// GrantUnder gives a slot to g.Worker under a new epoch, if the stored epoch still is expect (0: never granted). g.Wait is the
// wait that the caller requests; the returned one is what the holder must wait, the connector's registration bucket included.
// tunnel.ErrConflict says that another grant came first, or which slot holds the edge address; tunnel.ErrNoAddress that
// g names none; a lease.OvertakenError that a leader with a newer term is in charge. A live slot may be granted: that is how it moves.
// Slots that have ended do not hold their addresses any more.
func GrantUnder(
	term lease.Term, g lease.Grant, expect tunnel.Epoch, ttl time.Duration, ended ...lease.Ended,
) (Request[lease.Grant], error) {
	op := fmt.Sprintf("grant slot %d", g.Slot.Index)
	if g.Worker == "" {
		return Request[lease.Grant]{}, fmt.Errorf("%s: empty worker id", op)
	}
	if g.Edge.IsZero() {
		return Request[lease.Grant]{}, fmt.Errorf("%s: %w", op, tunnel.ErrNoAddress)
	}
	status, err := json.Marshal(lease.Status{State: lease.StateGranted, Past: g.Past})
	if err != nil {
		return Request[lease.Grant]{}, fmt.Errorf("%s: %w", op, err)
	}
	args := []string{
		formatIndex(g.Slot.Index), string(g.Worker), g.Edge.Addr.String(), string(g.Edge.Region), string(g.Protocol),
		formatEpoch(expect), millis(ttl), millis(g.Wait), string(status),
		millis(lease.RegistrationInterval), strconv.Itoa(lease.RegistrationBurst), millis(maxBucketWait),
		formatTerm(term), g.Instance, g.Command, formatEpoch(g.Above),
	}
	for _, e := range ended {
		args = append(args, formatIndex(e.Index), formatEpoch(e.Epoch))
	}
	return Request[lease.Grant]{
		Op: op,
		Command: Command{
			Script: scriptGrant,
			Keys: []string{
				slotsKey(g.Slot.Tunnel, g.Slot.Connector), bucketKey(g.Slot.Tunnel, g.Slot.Connector),
				fenceKey(g.Slot.Tunnel, g.Slot.Connector),
			},
			Args: args,
		},
		Decode: func(reply any) (lease.Grant, error) { return decodeGrant(op, g, expect, reply) },
	}, nil
}

// decodeGrant completes the grant g by the epoch and the wait in the reply.
func decodeGrant(op string, g lease.Grant, expect tunnel.Epoch, reply any) (lease.Grant, error) {
	if err := overtaken(op, reply); err != nil {
		return lease.Grant{}, err
	}
	words, err := texts(op, reply)
	if err != nil {
		return lease.Grant{}, err
	}
	switch {
	case len(words) == 2 && words[0] == "epoch":
		return lease.Grant{}, fmt.Errorf("%s: %w: its epoch is %s, not %d", op, tunnel.ErrConflict, words[1], expect)
	case len(words) == 2 && words[0] == "address":
		return lease.Grant{}, fmt.Errorf("%s: %w: slot %s holds edge address %s", op, tunnel.ErrConflict, words[1], g.Edge)
	case len(words) != 3 || words[0] != "ok":
		return lease.Grant{}, badReply(op, reply)
	}
	epoch, err := strconv.ParseUint(words[1], 10, 64)
	if err != nil {
		return lease.Grant{}, badReply(op, reply)
	}
	wait, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return lease.Grant{}, badReply(op, reply)
	}
	g.Epoch = tunnel.Epoch(epoch)
	g.Wait = time.Duration(wait) * time.Millisecond
	return g, nil
}

// Renew renews the leases that worker reports, writes what it reports of them, and returns every slot of the connector.
// A report with an older epoch than the stored one, or with the same one by another worker, changes nothing; the records show the newer
// epoch. One with a higher epoch claims its slot, which the store must have lost. Without reports it only reads. One call serves all
// slots of a worker's connector.
func Renew(
	id tunnel.ID,
	connector tunnel.ConnectorID,
	worker tunnel.WorkerID,
	reports []lease.Report,
	ttl time.Duration,
) (Request[lease.Table], error) {
	return renew(id, connector, worker, "", reports, ttl)
}

// Report is Renew for a process that keeps the lease of its whole worker (RenewWorker): the slots live as long as that one.
func Report(
	id tunnel.ID, connector tunnel.ConnectorID, worker tunnel.WorkerID, instance string, reports []lease.Report,
) (Request[lease.Table], error) {
	return renew(id, connector, worker, instance, reports, lease.HeldTTL)
}

func renew(
	id tunnel.ID,
	connector tunnel.ConnectorID,
	worker tunnel.WorkerID,
	instance string,
	reports []lease.Report,
	ttl time.Duration,
) (Request[lease.Table], error) {
	const op = "renew leases"
	args := make([]string, 0, 4+9*len(reports))
	args = append(args, string(worker), millis(ttl), millis(lease.ProvedTTL), instance)
	for _, r := range reports {
		status, err := json.Marshal(r.Status)
		if err != nil {
			return Request[lease.Table]{}, fmt.Errorf("%s: %w", op, err)
		}
		connected := "0"
		if r.Status.State == lease.StateConnected {
			connected = "1"
		}
		edge := ""
		if !r.Edge.IsZero() {
			edge = r.Edge.Addr.String()
		}
		args = append(args, formatIndex(r.Index), formatEpoch(r.Epoch), connected, strconv.Itoa(r.Status.Retries), string(status),
			edge, string(r.Edge.Region), string(r.Protocol), millis(r.Away))
	}
	return Request[lease.Table]{
		Op:      op,
		Command: Command{Script: scriptRenew, Keys: []string{slotsKey(id, connector), provedKey(id, connector)}, Args: args},
		Decode:  table(op, id, connector),
	}, nil
}

// Release frees a slot that worker holds with epoch; freeing it again is no error. tunnel.ErrFenced says that a newer
// epoch or another worker has it, tunnel.ErrNotFound that the store knows no such grant.
func Release(slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) Request[Done] {
	op := fmt.Sprintf("release slot %d", slot.Index)
	return Request[Done]{
		Op: op,
		Command: Command{
			Script: scriptRelease,
			Keys:   []string{slotsKey(slot.Tunnel, slot.Connector)},
			Args:   []string{formatIndex(slot.Index), string(worker), formatEpoch(epoch)},
		},
		Decode: released(op),
	}
}

// ReleaseUnder is Release for a leader. A lease.OvertakenError says that one with a newer term than the caller's is in charge.
func ReleaseUnder(term lease.Term, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) Request[Done] {
	r := Release(slot, worker, epoch)
	r.Keys = append(r.Keys, fenceKey(slot.Tunnel, slot.Connector))
	r.Args = append(r.Args, formatTerm(term))
	return r
}

// released reads the reply of the scripts that change one slot under its epoch.
func released(op string) func(reply any) (Done, error) {
	return func(reply any) (Done, error) {
		word, err := text(op, reply)
		if err != nil {
			return Done{}, err
		}
		switch word {
		case "ok":
			return Done{}, nil
		case "fenced":
			return Done{}, fmt.Errorf("%s: %w", op, tunnel.ErrFenced)
		case "absent":
			return Done{}, absent(op)
		}
		term, found := strings.CutPrefix(word, "term ")
		newer, err := strconv.ParseUint(term, 10, 64)
		if !found || err != nil {
			return Done{}, badReply(op, reply)
		}
		return Done{}, fmt.Errorf("%s: %w", op, &lease.OvertakenError{Term: lease.Term(newer)})
	}
}

// Proved reports whether a connection of the connector was live within lease.ProvedTTL: the first-connection gate.
func Proved(id tunnel.ID, connector tunnel.ConnectorID) Request[bool] {
	const op = "read proof"
	return Request[bool]{
		Op:      op,
		Command: Command{Script: scriptProved, Keys: []string{provedKey(id, connector)}},
		Decode:  flag(op),
	}
}

func formatIndex(i tunnel.ConnIndex) string { return strconv.Itoa(int(i)) }

func formatEpoch(e tunnel.Epoch) string { return strconv.FormatUint(uint64(e), 10) }
