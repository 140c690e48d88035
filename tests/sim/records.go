package sim

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// write is what a command claims of the slot that it writes: the epoch that it saw, and, unless it is empty, the worker.
// claims says that the worker may have a newer epoch than the store, which lost it: it reports the slot, or gives it back.
type write struct {
	index, worker, epoch string
	claims               bool
}

// watch looks at the records that a command is about to change. The result checks what it did to them.
func (k *checker) watch(cmd command.Command) (verify func()) {
	var writes []write
	switch {
	case len(cmd.Keys) == 0:
	case cmd.Name() == "grant" && len(cmd.Args) > 5:
		writes = []write{{index: cmd.Args[0], epoch: cmd.Args[5]}}
	case cmd.Name() == "release" && len(cmd.Args) > 2:
		writes = []write{{index: cmd.Args[0], worker: cmd.Args[1], epoch: cmd.Args[2]}}
		writes[0].claims = k.c.server.hash(cmd.Keys[0])[cmd.Args[0]+":worker"] == cmd.Args[1]
	case cmd.Name() == "renew" && len(cmd.Args) > 5:
		for i := 4; i+8 < len(cmd.Args); i += 9 {
			writes = append(writes, write{index: cmd.Args[i], worker: cmd.Args[0], epoch: cmd.Args[i+1], claims: cmd.Args[i+5] != ""})
		}
		if k.ordinary(cmd.Keys[0], writes) {
			return func() {}
		}
	}
	if len(writes) == 0 {
		return func() {}
	}
	key := cmd.Keys[0]
	before := k.c.server.hash(key)
	return func() { k.compare(key, writes, before, k.c.server.hash(key)) }
}

// ordinary reports whether the writes of a renewal are what nearly all are: by the holders of leases that have not expired.
func (k *checker) ordinary(key string, writes []write) bool {
	words := []string{"hmget", key}
	for _, w := range writes {
		words = append(words, w.index+":epoch", w.index+":worker", w.index+":deadline")
	}
	list, _ := k.c.server.plain(words...).([]any)
	if len(list) != 3*len(writes) {
		return false
	}
	for i, w := range writes {
		deadline, _ := list[3*i+2].(string)
		if list[3*i] != w.epoch || list[3*i+1] != w.worker || !k.ahead(deadline) {
			return false
		}
	}
	return true
}

// ahead reports whether a deadline has not come, by the server's clock.
func (k *checker) ahead(deadline string) bool {
	n, err := strconv.ParseInt(deadline, 10, 64)
	return err == nil && n > k.c.server.db.Now()/1000
}

// compare checks what writes did to the records of a connector.
func (k *checker) compare(key string, writes []write, before, after map[string]string) {
	for _, w := range writes {
		stored := cmp.Or(before[w.index+":epoch"], "0")
		if _, err := strconv.ParseUint(stored, 10, 64); err != nil {
			stored = "0" // what cannot be read counts as never granted
		}
		if stored == w.epoch && (w.worker == "" || w.worker == before[w.index+":worker"]) {
			continue
		}
		takesOver := stored == w.epoch && before[w.index+":worker"] != "" && !connectedStatus(before[w.index+":status"])
		if w.claims && (above(w.epoch, stored) || takesOver) {
			continue
		}
		for _, field := range []string{"epoch", "deadline", "worker", "edge", "status", "renewed"} {
			if name := w.index + ":" + field; before[name] != after[name] {
				k.violate(OldWrites, key+" "+w.index, "no change by a write of epoch %s of %q, the stored one is %s of %q; %s changed from %q to %q",
					w.epoch, w.worker, stored, before[w.index+":worker"], field, before[name], after[name])
			}
		}
	}
	if shared := k.twoHave(after); shared != "" && k.twoHave(before) == "" {
		k.violate(OneAddress, key, "live slots at different addresses: %s", shared)
	}
}

// above reports whether an epoch is higher than the stored one; what cannot be read counts as 0.
func above(epoch, stored string) bool {
	a, errA := strconv.ParseUint(epoch, 10, 64)
	b, errB := strconv.ParseUint(stored, 10, 64)
	return errA == nil && (errB != nil || a > b)
}

func connectedStatus(status string) bool { return strings.HasPrefix(status, `{"state":"connected"`) }

// twoHave names two live slots with one granted address, or is empty.
func (k *checker) twoHave(fields map[string]string) string {
	var names []string
	for name := range fields {
		if strings.HasSuffix(name, ":edge") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	owner := map[string]string{}
	for _, name := range names {
		index := strings.TrimSuffix(name, ":edge")
		if !k.ahead(fields[index+":deadline"]) {
			continue
		}
		if other, found := owner[fields[name]]; found {
			return other + " and " + index + " at " + fields[name]
		}
		owner[fields[name]] = index
	}
	return ""
}
