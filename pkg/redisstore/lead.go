package redisstore

import (
	"context"
	"time"
)

// TakeLead takes or renews the leader lease of a role, and reports whether holder has it now. A leader only reduces
// duplicate work: safety must not depend on there being only one.
func (s *Store) TakeLead(ctx context.Context, role, holder string, ttl time.Duration) (bool, error) {
	n, err := s.call(ctx, "take lead", s.scripts.takeLead, []string{leadKey(role)}, holder, millis(ttl)).Int()
	return n == 1, err
}

// ResignLead gives the leader lease up at once. It does nothing if another holder has it.
func (s *Store) ResignLead(ctx context.Context, role, holder string) error {
	return s.call(ctx, "resign lead", s.scripts.resignLead, []string{leadKey(role)}, holder).Err()
}

// Leader returns the holder of the leader lease of a role, or an empty string.
func (s *Store) Leader(ctx context.Context, role string) (holder string, err error) {
	return s.call(ctx, "read leader", s.scripts.leader, []string{leadKey(role)}).Text()
}
