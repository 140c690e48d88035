package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// PublishPool writes the pool under a new version, which it returns. An empty pool is always tunnel.ErrConflict, and so
// is a pool of one region when the stored one has two or more: a lookup that finds less does not replace the last good pool.
func (s *Store) PublishPool(ctx context.Context, name string, p edgepool.Pool) (version uint64, err error) {
	const op = "publish pool"
	regions := p.UsableRegions()
	if regions == 0 {
		return 0, fmt.Errorf("%s %q: %w: it has no address", op, name, tunnel.ErrConflict)
	}
	p.Version = 0
	body, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("%s %q: %w", op, name, err)
	}
	good := "0"
	if regions >= edgepool.MinRegions {
		good = "1"
	}
	reply, err := s.call(ctx, op, s.scripts.publishPool, []string{poolKey(name)}, string(body), good).StringSlice()
	if err != nil {
		return 0, err
	}
	if len(reply) != 2 {
		return 0, badReply(op, reply)
	}
	version, err = strconv.ParseUint(reply[1], 10, 64)
	if err != nil {
		return 0, badReply(op, reply)
	}
	if reply[0] == "worse" {
		return 0, fmt.Errorf("%s %q: %w: version %d has at least %d regions, the new pool has %d",
			op, name, tunnel.ErrConflict, version, edgepool.MinRegions, regions)
	}
	return version, nil
}

// Pool reads a pool; tunnel.ErrNotFound if none was ever published under the name.
func (s *Store) Pool(ctx context.Context, name string) (edgepool.Pool, error) {
	const op = "read pool"
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var stored struct {
		Version uint64 `redis:"version"`
		Body    string `redis:"body"`
	}
	cmd := s.client.HMGet(ctx, poolKey(name), "version", "body")
	if err := cmd.Err(); err != nil {
		return edgepool.Pool{}, s.failure(ctx, op, err)
	}
	if err := cmd.Scan(&stored); err != nil {
		return edgepool.Pool{}, fmt.Errorf("%s %q: %w", op, name, err)
	}
	if stored.Body == "" {
		return edgepool.Pool{}, fmt.Errorf("%s %q: %w", op, name, tunnel.ErrNotFound)
	}
	var p edgepool.Pool
	if err := json.Unmarshal([]byte(stored.Body), &p); err != nil {
		return edgepool.Pool{}, fmt.Errorf("%s %q: %w", op, name, err)
	}
	p.Version = stored.Version
	return p, nil
}
