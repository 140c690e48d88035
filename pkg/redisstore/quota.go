package redisstore

import (
	"context"

	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// RenewQuota renews the share of a process in a limit of a tunnel.
func (s *Store) RenewQuota(ctx context.Context, id tunnel.ID, a quota.Ask) (quota.Answer, error) {
	r, err := do(ctx, s, command.Quota(id, a))
	return r.Answer, err
}

// LeaveQuota gives back the share of a process in a limit of a tunnel.
func (s *Store) LeaveQuota(ctx context.Context, id tunnel.ID, process string) error {
	_, err := do(ctx, s, command.LeaveQuota(id, process))
	return err
}
