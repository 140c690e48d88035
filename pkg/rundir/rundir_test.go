package rundir_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/rundir"
)

func TestMake(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for range 2 { // the second one finds it
		if dir, err := rundir.Make(); err != nil || dir != rundir.Default() {
			t.Fatalf("Make = %q, %v", dir, err)
		}
	}
	if err := os.Chmod(rundir.Default(), 0o777); err != nil { // a directory that must be refused
		t.Fatal(err)
	}
	if _, err := rundir.Make(); !errors.Is(err, rundir.ErrShared) {
		t.Errorf("a directory that all may write to: %v", err)
	}
	if err := os.Remove(rundir.Default()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), rundir.Default()); err != nil {
		t.Fatal(err)
	}
	if _, err := rundir.Make(); !errors.Is(err, rundir.ErrShared) {
		t.Errorf("a symbolic link: %v", err)
	}
}

func TestOfService(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	real, shared := t.TempDir(), t.TempDir()
	if err := os.Chmod(shared, 0o777); err != nil { // a directory that must be refused
		t.Fatal(err)
	}
	named := filepath.Join(t.TempDir(), "service")
	if err := os.Symlink(real, named); err != nil { // as for a service with DynamicUser
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		"": rundir.Default(), real: real, named: real, real + ":/run/other": real, shared: rundir.Default(), "relative": rundir.Default(),
	} {
		t.Setenv("RUNTIME_DIRECTORY", given)
		if dir, err := rundir.OfService(); err != nil || dir != want {
			t.Errorf("RUNTIME_DIRECTORY %q: %q, %v, want %q", given, dir, err, want)
		}
	}
}
