package memstore_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/tests/sim/memstore"
)

// The table of keys in pkg/redisstore/command says of each key that the operations make what type it has, whether it ends by itself, and
// which fields a slot has. That it lists every key is a test of that package.
func TestKeyTable(t *testing.T) {
	source, err := os.ReadFile("../../../pkg/redisstore/command/keys.go")
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		key     string
		pattern *regexp.Regexp
		kind    string
		ends    bool
		seen    bool
	}
	var rows []row
	for _, m := range regexp.MustCompile(`(?m)^//\t(cv:\S+)\s+(string|hash|zset)\s+(\S+)`).FindAllStringSubmatch(string(source), -1) {
		parts := regexp.MustCompile(`<[a-z]+>`).Split(m[1], -1)
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		pattern := regexp.MustCompile("^" + strings.Join(parts, "[^{}:]+") + "$")
		rows = append(rows, row{key: m[1], pattern: pattern, kind: m[2], ends: m[3] != "none"})
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile(`\bi:([a-z]+)`).FindAllStringSubmatch(string(source), -1) {
		documented[m[1]] = true
	}
	fields := map[string]bool{}
	for seed := range uint64(300) {
		s := memstore.New(start)
		w := newWorld(choicesOf(seed, sequenceBytes))
		for w.more() {
			s.SetNow(s.Now() + w.step().Microseconds())
			c := w.next()
			if w.damaged {
				continue
			}
			reply, _ := s.Do(c)
			w.learn(c, reply)
			for _, content := range s.Contents() {
				i := slices.IndexFunc(rows, func(r row) bool { return r.pattern.MatchString(content.Key) })
				if i < 0 {
					t.Fatalf("the table has no row for %s", content.Key)
				}
				rows[i].seen = true
				if r := rows[i]; r.kind != content.Type || r.ends != (content.Expiry != 0) {
					t.Fatalf("%s after %v: it is a %s that ends at %d, the table says %s, ends: %v",
						content.Key, c, content.Type, content.Expiry, r.kind, r.ends)
				}
				if strings.HasSuffix(content.Key, ":slots") {
					for i := 0; i < len(content.Values); i += 2 {
						_, field, _ := strings.Cut(content.Values[i], ":")
						fields[field] = true
					}
				}
			}
		}
	}
	for _, r := range rows {
		if !r.seen {
			t.Errorf("no operation made the key %s of the table", r.key)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(fields))); diff != "" || len(rows) < 12 {
		t.Errorf("%d rows, fields of a slot (-table +written):\n%s", len(rows), diff)
	}
}
