package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// maxBucketWait is the longest that the registration bucket may hold a slot back (docs/spec/lifecycle.md 14.4).
const maxBucketWait = 30 * time.Second

// Slots reads every slot of a connector that was ever granted, by index.
func (s *Store) Slots(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) ([]lease.Record, error) {
	const op = "read slots"
	reply, err := s.call(ctx, op, s.scripts.slots, []string{slotsKey(id, connector)}).StringSlice()
	if err != nil {
		return nil, err
	}
	return decodeSlots(op, id, connector, reply)
}

// Grant gives a slot to g.Worker under a new epoch, if the stored epoch still is expect (0: never granted). g.Wait is the
// wait that the caller requests; the returned one is what the holder must wait, the connector's registration bucket included.
// tunnel.ErrConflict says that another grant came first, or which slot holds the edge address; tunnel.ErrNoAddress that
// g names none. A live slot may be granted: that is how it moves.
func (s *Store) Grant(ctx context.Context, g lease.Grant, expect tunnel.Epoch, ttl time.Duration) (lease.Grant, error) {
	op := fmt.Sprintf("grant slot %d", g.Slot.Index)
	if g.Worker == "" {
		return lease.Grant{}, fmt.Errorf("%s: empty worker id", op)
	}
	if g.Edge.IsZero() {
		return lease.Grant{}, fmt.Errorf("%s: %w", op, tunnel.ErrNoAddress)
	}
	status, err := json.Marshal(lease.Status{State: lease.StateGranted})
	if err != nil {
		return lease.Grant{}, fmt.Errorf("%s: %w", op, err)
	}
	keys := []string{slotsKey(g.Slot.Tunnel, g.Slot.Connector), bucketKey(g.Slot.Tunnel, g.Slot.Connector)}
	reply, err := s.call(ctx, op, s.scripts.grant, keys,
		formatIndex(g.Slot.Index), string(g.Worker), g.Edge.Addr.String(), string(g.Edge.Region), string(g.Protocol),
		formatEpoch(expect), millis(ttl), millis(g.Wait), string(status),
		millis(lease.RegistrationInterval), strconv.Itoa(lease.RegistrationBurst), millis(maxBucketWait),
	).StringSlice()
	if err != nil {
		return lease.Grant{}, err
	}
	switch {
	case len(reply) == 2 && reply[0] == "epoch":
		return lease.Grant{}, fmt.Errorf("%s: %w: its epoch is %s, not %d", op, tunnel.ErrConflict, reply[1], expect)
	case len(reply) == 2 && reply[0] == "address":
		return lease.Grant{}, fmt.Errorf("%s: %w: slot %s holds edge address %s", op, tunnel.ErrConflict, reply[1], g.Edge)
	case len(reply) != 3 || reply[0] != "ok":
		return lease.Grant{}, badReply(op, reply)
	}
	epoch, err := strconv.ParseUint(reply[1], 10, 64)
	if err != nil {
		return lease.Grant{}, badReply(op, reply)
	}
	wait, err := strconv.ParseInt(reply[2], 10, 64)
	if err != nil {
		return lease.Grant{}, badReply(op, reply)
	}
	g.Epoch = tunnel.Epoch(epoch)
	g.Wait = time.Duration(wait) * time.Millisecond
	return g, nil
}

// Renew renews the leases that worker reports, writes what it reports of them, and returns every slot of the connector.
// A report whose epoch or worker is not the stored one changes nothing; the records show the newer epoch. Without
// reports it only reads. One call serves all slots of a worker's connector.
func (s *Store) Renew(
	ctx context.Context,
	id tunnel.ID,
	connector tunnel.ConnectorID,
	worker tunnel.WorkerID,
	reports []lease.Report,
	ttl time.Duration,
) ([]lease.Record, error) {
	const op = "renew leases"
	args := make([]any, 0, 3+5*len(reports))
	args = append(args, string(worker), millis(ttl), millis(lease.ProvedTTL))
	for _, r := range reports {
		status, err := json.Marshal(r.Status)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		connected := "0"
		if r.Status.State == lease.StateConnected {
			connected = "1"
		}
		args = append(args, formatIndex(r.Index), formatEpoch(r.Epoch), connected, strconv.Itoa(r.Status.Retries), string(status))
	}
	keys := []string{slotsKey(id, connector), provedKey(id, connector)}
	reply, err := s.call(ctx, op, s.scripts.renew, keys, args...).StringSlice()
	if err != nil {
		return nil, err
	}
	return decodeSlots(op, id, connector, reply)
}

// Release frees a slot that worker holds with epoch; freeing it again is no error. tunnel.ErrFenced says that a newer
// epoch or another worker has it, tunnel.ErrNotFound that the store knows no such grant.
func (s *Store) Release(ctx context.Context, slot tunnel.Slot, worker tunnel.WorkerID, epoch tunnel.Epoch) error {
	op := fmt.Sprintf("release slot %d", slot.Index)
	reply, err := s.call(ctx, op, s.scripts.release, []string{slotsKey(slot.Tunnel, slot.Connector)},
		formatIndex(slot.Index), string(worker), formatEpoch(epoch)).Text()
	if err != nil {
		return err
	}
	switch reply {
	case "ok":
		return nil
	case "fenced":
		return fmt.Errorf("%s: %w", op, tunnel.ErrFenced)
	case "absent":
		return fmt.Errorf("%s: %w", op, tunnel.ErrNotFound)
	default:
		return badReply(op, reply)
	}
}

// Proved reports whether a connection of the connector was live within lease.ProvedTTL: the first-connection gate.
func (s *Store) Proved(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) (bool, error) {
	n, err := s.call(ctx, "read proof", s.scripts.proved, []string{provedKey(id, connector)}).Int()
	return n == 1, err
}

func formatIndex(i tunnel.ConnIndex) string { return strconv.Itoa(int(i)) }

func formatEpoch(e tunnel.Epoch) string { return strconv.FormatUint(uint64(e), 10) }
