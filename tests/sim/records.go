package sim

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// watch looks at the records that a command is about to change. The result checks what it did to them.
func (k *checker) watch(cmd command.Command) (verify func()) {
	switch {
	case len(cmd.Keys) == 0:
	case cmd.Name() == "grant" && len(cmd.Args) > 5:
		return k.watchEpochs(cmd.Keys[0], []write{{index: cmd.Args[0], epoch: cmd.Args[5]}})
	case cmd.Name() == "release" && len(cmd.Args) > 2:
		return k.watchEpochs(cmd.Keys[0], []write{{index: cmd.Args[0], worker: cmd.Args[1], epoch: cmd.Args[2]}})
	case cmd.Name() == "renew" && len(cmd.Args) > 4:
		var writes []write
		for i := 3; i+1 < len(cmd.Args); i += 5 {
			writes = append(writes, write{index: cmd.Args[i], worker: cmd.Args[0], epoch: cmd.Args[i+1]})
		}
		return k.watchEpochs(cmd.Keys[0], writes)
	}
	return func() {}
}

// write is what a command claims of the slot that it writes: the epoch that it saw, and, unless it is empty, the worker.
type write struct{ index, worker, epoch string }

// changing are the fields that a write changes.
func changing() []string { return []string{"epoch", "deadline", "worker", "edge", "status", "renewed"} }

func (k *checker) watchEpochs(key string, writes []write) (verify func()) {
	before := k.c.server.hash(key)
	return func() {
		after := k.c.server.hash(key)
		for _, w := range writes {
			stored := cmp.Or(before[w.index+":epoch"], "0")
			if stored == w.epoch && (w.worker == "" || w.worker == before[w.index+":worker"]) {
				continue
			}
			for _, field := range changing() {
				if name := w.index + ":" + field; before[name] != after[name] {
					k.violate(OldWrites, key+" "+w.index, "no change by a write of epoch %s of %q, the stored one is %s of %q; %s changed from %q to %q",
						w.epoch, w.worker, stored, before[w.index+":worker"], field, before[name], after[name])
				}
			}
		}
		k.checkOneAddress(key, before, after)
	}
}

// checkOneAddress checks that no two live slots have the same granted address, unless they had it before.
func (k *checker) checkOneAddress(key string, before, after map[string]string) {
	if twoHave(after, k.serverMillis()) == "" || twoHave(before, k.serverMillis()) != "" {
		return
	}
	k.violate(OneAddress, key, "live slots at different addresses: %s", twoHave(after, k.serverMillis()))
}

func (k *checker) serverMillis() int64 { return k.c.server.db.Now() / 1000 }

// twoHave names two live slots with one address, or is empty.
func twoHave(fields map[string]string, now int64) string {
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
		if deadline, err := strconv.ParseInt(fields[index+":deadline"], 10, 64); err != nil || deadline <= now {
			continue
		}
		address := fields[name]
		if other, found := owner[address]; found {
			return other + " and " + index + " at " + address
		}
		owner[address] = index
	}
	return ""
}
