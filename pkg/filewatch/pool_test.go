package filewatch_test

import (
	"os"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

func TestPoolFollowsItsFile(t *testing.T) {
	first, second := testkit.NewCA(t), testkit.NewCA(t)
	path := first.File(t)
	var faults int
	files := filewatch.New(func(e filewatch.Event) {
		if e.Err != nil {
			faults++
		}
	})
	pool, err := files.Pool("ca_file", path)
	if err != nil {
		t.Fatalf("Pool: %v", err)
	}
	put := func(content []byte) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatalf("write %s: %v", path, err)
		}
		files.Check()
	}
	put([]byte("no certificate"))
	if !pool().Equal(first.Pool()) || faults != 1 {
		t.Errorf("after a file without certificates: the former pool: %v, %d faults, want true and 1", pool().Equal(first.Pool()), faults)
	}
	put(second.PEM())
	if !pool().Equal(second.Pool()) {
		t.Error("the pool does not hold the new certificate alone")
	}
	if _, err := files.Pool("ca_file", path+".missing"); err == nil {
		t.Error("Pool of a missing file: no error")
	}
}
