package redisstore

import (
	"context"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// TakeLead takes or renews the leader lease of a role, and reports whether holder has it now. A leader only reduces
// duplicate work: safety must not depend on there being only one.
func (s *Store) TakeLead(ctx context.Context, role, holder string, ttl time.Duration) (bool, error) {
	return do(ctx, s, command.TakeLead(role, holder, ttl))
}

// TakeTerm is TakeLead for a leader whose writes are fenced by its term. Its term will be higher than seen, unless it is seen itself.
func (s *Store) TakeTerm(ctx context.Context, role, holder string, seen lease.Term, ttl time.Duration) (lease.Lead, error) {
	return do(ctx, s, command.TakeTerm(role, holder, seen, ttl))
}

// TakeShare takes or renews member's share of a lead that several have together. Its term will be higher than seen, unless it is seen
// itself. One that may not join leads only where nobody else does.
func (s *Store) TakeShare(
	ctx context.Context, role, member string, seen lease.Term, ttl time.Duration, join bool,
) (lease.Share, error) {
	return do(ctx, s, command.TakeShare(role, member, seen, ttl, join))
}

// LeaveShare gives a member's share up at once. It does nothing if it has none.
func (s *Store) LeaveShare(ctx context.Context, role, member string) error {
	_, err := do(ctx, s, command.LeaveShare(role, member))
	return err
}

// ResignLead gives the leader lease up at once. It does nothing if another holder has it.
func (s *Store) ResignLead(ctx context.Context, role, holder string) error {
	_, err := do(ctx, s, command.ResignLead(role, holder))
	return err
}

// Leader returns the holder of the leader lease of a role, or an empty string.
func (s *Store) Leader(ctx context.Context, role string) (holder string, err error) {
	return do(ctx, s, command.Leader(role))
}
