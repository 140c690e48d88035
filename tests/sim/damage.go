package sim

import (
	"slices"
	"strings"

	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// damage writes what cannot be read into a record, or what only a later version understands.
func (c *Cluster) damage(f *Fault) {
	switch f.Kind {
	case BadSlot:
		c.damageSlot(f.N, []string{"epoch", "deadline", "renewed", "start", "edge", "status", "retries"}, "?")
	case BadWorker:
		c.damageWorker(f.Target, `{"worker_id":"`+f.Target+`","capacity":"many"`)
	case BadPool:
		c.server.plain("hset", "cv:pool:"+poolName, pickOf(f.N, []string{"body", "version"}), "?")
	case BadConnector:
		c.server.plain("set", "cv:connector:"+c.tunnelPart(f.Target), "?")
		c.server.damaged = append(c.server.damaged, f.Target)
	case BadLead:
		lead := pickOf(f.N, []string{"cv:lead:supervisor", "cv:lead:discovery:" + poolName})
		c.server.plain("hset", lead, "deadline", "?")
	default:
		c.future(f.N)
	}
}

// future writes fields and values of a later version, which must not disturb.
func (c *Cluster) future(n int) {
	switch n % 4 {
	case 0:
		c.damageSlot(n/4, []string{"weather", "lease2"}, "sunny")
	case 1:
		c.damageSlot(n/4, []string{"status"}, `{"state":"hibernating","since":{"day":7},"reason":"cold"}`)
	case 2:
		record, _ := c.server.plain("hget", "cv:{worker}:records", c.spec.Workers[0].ID).(string)
		if rest, found := strings.CutPrefix(record, "{"); found {
			c.damageWorker(c.spec.Workers[0].ID, `{"mood":{"a":[1]},`+rest)
		}
	default:
		c.server.plain("hset", "cv:pool:"+poolName, "checksum", "17")
	}
}

// damageWorker writes a record of a worker as a version does that writes no revisions: everybody reads it.
func (c *Cluster) damageWorker(id, record string) {
	c.server.plain("hset", "cv:{worker}:records", id, record)
	c.server.plain("hdel", "cv:{worker}:revisions", id)
}

// damageSlot writes a value into a field of a slot that has a record.
func (c *Cluster) damageSlot(n int, fields []string, value string) {
	var hashes []memstore.Content
	for _, content := range c.server.db.Contents() {
		if strings.HasSuffix(content.Key, ":slots") {
			hashes = append(hashes, content)
		}
	}
	if len(hashes) == 0 {
		return
	}
	hash := hashes[n%len(hashes)]
	var indexes []string
	for i := 0; i < len(hash.Values); i += 2 {
		if index, _, _ := strings.Cut(hash.Values[i], ":"); !slices.Contains(indexes, index) {
			indexes = append(indexes, index)
		}
	}
	index := indexes[n/7%len(indexes)]
	c.server.plain("hset", hash.Key, index+":"+fields[n/31%len(fields)], value)
	if value != "?" {
		return
	}
	for _, id := range c.spec.Tunnels {
		if strings.Contains(hash.Key, id.String()) {
			c.server.damaged = append(c.server.damaged, shortName(id)+"/"+index)
		}
	}
}

func pickOf(n int, list []string) string { return list[n%len(list)] }
