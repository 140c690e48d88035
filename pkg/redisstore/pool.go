package redisstore

import (
	"context"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// PublishPool writes the pool under a new version, which it returns. An empty pool is always tunnel.ErrConflict, and so
// is a pool from DNS of one region when the stored one is good: a lookup that finds less does not replace the last good pool. A pool is
// good when it has two regions, or when an operator listed its addresses: such a list replaces any pool.
func (s *Store) PublishPool(ctx context.Context, name string, p edgepool.Pool) (version uint64, err error) {
	r, err := command.PublishPool(name, p)
	if err != nil {
		return 0, err
	}
	return do(ctx, s, r)
}

// Pool reads a pool; tunnel.ErrNotFound if none was ever published under the name.
func (s *Store) Pool(ctx context.Context, name string) (edgepool.Pool, error) {
	return do(ctx, s, command.Pool(name))
}
