package redisstore

import (
	"context"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Desired reads what operators desire, unless the version is known; 0 is none. What cannot be read hides nothing else.
func (s *Store) Desired(ctx context.Context, known uint64) (command.Read, error) {
	return do(ctx, s, command.Desired(known))
}

// SetDesired changes the document of a tunnel, if its version still is the expected one (0: none), and returns the new version.
// tunnel.ErrConflict says that somebody else changed it first. poolChanges says that the spec names another pool than the stored one.
func (s *Store) SetDesired(
	ctx context.Context, id tunnel.ID, expect uint64, spec desired.Spec, author string, poolChanges bool,
) (version uint64, err error) {
	r, err := command.SetDesired(id, expect, spec, author, poolChanges)
	return s.change(ctx, r, err)
}

// RestoreDesired gives a document back to a store that lost it; tunnel.ErrConflict if the store has a newer one.
func (s *Store) RestoreDesired(ctx context.Context, id tunnel.ID, d desired.Document) error {
	r, err := command.RestoreDesired(id, d)
	_, err = s.change(ctx, r, err)
	return err
}

// SetDrained marks a worker as drained, or removes the mark, if the version of the mark still is the expected one (0: none).
func (s *Store) SetDrained(
	ctx context.Context, id tunnel.WorkerID, expect uint64, drained bool, author string,
) (version uint64, err error) {
	r, err := command.SetDrained(id, expect, drained, author)
	return s.change(ctx, r, err)
}

// RestoreDrained gives a mark back to a store that lost it; tunnel.ErrConflict if the store has a newer one.
func (s *Store) RestoreDrained(ctx context.Context, id tunnel.WorkerID, m desired.Mark) error {
	r, err := command.RestoreDrained(id, m)
	_, err = s.change(ctx, r, err)
	return err
}

// change sends a change of a document, unless it could not be made.
func (s *Store) change(ctx context.Context, r command.Request[uint64], err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	return do(ctx, s, r)
}

// Submit writes a command for the supervisors, which have ttl to carry it out. The same command again changes nothing and returns its
// result. tunnel.ErrConflict says that another command has the id, tunnel.ErrUnavailable that too many wait already.
func (s *Store) Submit(ctx context.Context, c desired.Command, ttl time.Duration) (desired.Status, error) {
	r, err := command.Submit(c, ttl)
	if err != nil {
		return desired.Status{}, err
	}
	return do(ctx, s, r)
}

// Answer writes the result of a command, unless it has one, and returns the one that it has.
func (s *Store) Answer(ctx context.Context, id string, r desired.Result) (desired.Status, error) {
	return do(ctx, s, command.Answer(id, r))
}

// Result reads a command with its result; tunnel.ErrNotFound if there is none with the id, or its result is too old.
func (s *Store) Result(ctx context.Context, id string) (desired.Status, error) {
	return do(ctx, s, command.Result(id))
}

// AskReconnect asks the holder of a slot under the epoch to make its connection again; id is that of the command. tunnel.ErrFenced says
// that the slot has another epoch or no holder, tunnel.ErrNotFound that the store knows no such slot, and a lease.OvertakenError that a
// leader with a newer term than the caller's is in charge.
func (s *Store) AskReconnect(ctx context.Context, term lease.Term, slot tunnel.Slot, epoch tunnel.Epoch, id string) error {
	_, err := do(ctx, s, command.AskReconnect(term, slot, epoch, id))
	return err
}
