package command

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// PublishPool writes the pool under a new version, which it returns. An empty pool is always tunnel.ErrConflict, and so
// is a pool from DNS of one region when the stored one is good: a lookup that finds less does not replace the last good pool. A pool is
// good when it has two regions, or when an operator listed its addresses: such a list replaces any pool.
func PublishPool(name string, p edgepool.Pool) (Request[uint64], error) {
	const op = "publish pool"
	regions := p.UsableRegions()
	if regions == 0 {
		return Request[uint64]{}, fmt.Errorf("%s %q: %w: it has no address", op, name, tunnel.ErrConflict)
	}
	p.Version = 0
	body, err := json.Marshal(p)
	if err != nil {
		return Request[uint64]{}, fmt.Errorf("%s %q: %w", op, name, err)
	}
	good := "0"
	if regions >= edgepool.MinRegions || p.Source == edgepool.SourceStatic {
		good = "1"
	}
	return Request[uint64]{
		Op:      op,
		Command: Command{Script: scriptPublishPool, Keys: []string{poolKey(name)}, Args: []string{string(body), good}},
		Decode: func(reply any) (uint64, error) {
			words, err := texts(op, reply)
			if err != nil {
				return 0, err
			}
			if len(words) != 2 {
				return 0, badReply(op, reply)
			}
			version, err := strconv.ParseUint(words[1], 10, 64)
			switch {
			case err != nil:
				return 0, badReply(op, reply)
			case words[0] == "worse":
				return 0, fmt.Errorf("%s %q: %w: version %d is better than the new pool, which has %d region",
					op, name, tunnel.ErrConflict, version, regions)
			default:
				return version, nil
			}
		},
	}, nil
}

// Pool reads a pool; tunnel.ErrNotFound if none was ever published under the name.
func Pool(name string) Request[edgepool.Pool] {
	const op = "read pool"
	key := poolKey(name)
	return Request[edgepool.Pool]{
		Op:      op,
		Command: Command{Keys: []string{key}, Args: []string{"hmget", key, "version", "body"}},
		Decode: func(reply any) (edgepool.Pool, error) {
			fields, ok := reply.([]any)
			if !ok || len(fields) != 2 {
				return edgepool.Pool{}, badReply(op, reply)
			}
			var version uint64
			if text, found := fields[0].(string); found {
				var err error
				if version, err = strconv.ParseUint(text, 10, 64); err != nil {
					return edgepool.Pool{}, fmt.Errorf("%s %q: version: %w", op, name, err)
				}
			}
			body, _ := fields[1].(string)
			if body == "" {
				return edgepool.Pool{}, fmt.Errorf("%s %q: %w", op, name, tunnel.ErrNotFound)
			}
			var p edgepool.Pool
			if err := json.Unmarshal([]byte(body), &p); err != nil {
				return edgepool.Pool{}, fmt.Errorf("%s %q: %w", op, name, err)
			}
			p.Version = version
			return p, nil
		},
	}
}
