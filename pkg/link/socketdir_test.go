package link_test

import (
	"errors"
	"os"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
)

func TestMakeSocketDir(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for range 2 { // the second one finds it
		if dir, err := link.MakeSocketDir(); err != nil || dir != link.DefaultSocketDir() {
			t.Fatalf("MakeSocketDir = %q, %v", dir, err)
		}
	}
	if err := os.Chmod(link.DefaultSocketDir(), 0o777); err != nil { // a directory that must be refused
		t.Fatal(err)
	}
	if _, err := link.MakeSocketDir(); !errors.Is(err, link.ErrSocketDir) {
		t.Errorf("a directory that all may write to: %v", err)
	}
	if err := os.Remove(link.DefaultSocketDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), link.DefaultSocketDir()); err != nil {
		t.Fatal(err)
	}
	if _, err := link.MakeSocketDir(); !errors.Is(err, link.ErrSocketDir) {
		t.Errorf("a symbolic link: %v", err)
	}
}
