package redisstore

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// The scripts, each with its contract in its header.
var (
	//go:embed scripts/publish_pool.lua
	publishPoolLua string
	//go:embed scripts/take_lead.lua
	takeLeadLua string
	//go:embed scripts/resign_lead.lua
	resignLeadLua string
	//go:embed scripts/leader.lua
	leaderLua string
	//go:embed scripts/put.lua
	putLua string
	//go:embed scripts/remove.lua
	removeLua string
	//go:embed scripts/list.lua
	listLua string
	//go:embed scripts/slots.lua
	slotsLua string
	//go:embed scripts/grant.lua
	grantLua string
	//go:embed scripts/renew.lua
	renewLua string
	//go:embed scripts/release.lua
	releaseLua string
	//go:embed scripts/proved.lua
	provedLua string
)

type scripts struct {
	publishPool, takeLead, resignLead, leader, put, remove, list, slots, grant, renew, release, proved *redis.Script
}

func newScripts() scripts {
	return scripts{
		publishPool: redis.NewScript(publishPoolLua),
		takeLead:    redis.NewScript(takeLeadLua),
		resignLead:  redis.NewScript(resignLeadLua),
		leader:      redis.NewScript(leaderLua),
		put:         redis.NewScript(putLua),
		remove:      redis.NewScript(removeLua),
		list:        redis.NewScript(listLua),
		slots:       redis.NewScript(slotsLua),
		grant:       redis.NewScript(grantLua),
		renew:       redis.NewScript(renewLua),
		release:     redis.NewScript(releaseLua),
		proved:      redis.NewScript(provedLua),
	}
}

// call runs a script within the store's time bound: EVALSHA, and EVAL when the server does not know it yet.
func (s *Store) call(ctx context.Context, op string, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	cmd := script.Run(ctx, s.client, keys, args...)
	if err := cmd.Err(); err != nil {
		cmd.SetErr(s.failure(ctx, op, err))
	}
	return cmd
}

// failure maps an error of the client to the error for callers: the operation, the address and a sentinel. A reply that
// is an error of the server's state (loading, read-only replica, wrong password) makes the store as unavailable as
// silence does.
func (s *Store) failure(ctx context.Context, op string, err error) error {
	switch {
	case errors.Is(err, redis.Nil):
		return fmt.Errorf("%s: %w", op, tunnel.ErrNotFound)
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: store %s: %w: %w", op, s.name, tunnel.ErrUnavailable, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: store %s: %w: no response within %v", op, s.name, tunnel.ErrUnavailable, s.timeout)
	default:
		return fmt.Errorf("%s: store %s: %w: %w", op, s.name, tunnel.ErrUnavailable, err)
	}
}

// badReply is the error for a reply that does not have the form that the script returns.
func badReply(op string, reply any) error {
	return fmt.Errorf("%s: unexpected reply %v", op, reply)
}

func millis(d time.Duration) string {
	return strconv.FormatInt(max(d, 0).Milliseconds(), 10)
}
