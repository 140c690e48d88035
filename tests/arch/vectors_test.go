package arch_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVectorsAreUsed: every file of recorded vectors is read by a test of its package.
func TestVectorsAreUsed(t *testing.T) {
	vectors := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".json" || !strings.Contains(path, "testdata") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, []byte(`"recorded_from"`)) {
			return err
		}
		vectors++
		if !namedByTests(t, filepath.Dir(filepath.Dir(path)), strings.TrimSuffix(filepath.Base(path), ".json")) {
			t.Errorf("no test beside it reads %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if vectors < 17 { // those of docs/spec/ingress.md alone
		t.Errorf("%d files of vectors, want more", vectors)
	}
}

// namedByTests reports whether a test of the package in dir names a file.
func namedByTests(t *testing.T, dir, name string) bool {
	t.Helper()
	tests, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		b, err := os.ReadFile(test)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(name+".json")) || bytes.Contains(b, []byte(`"`+name+`"`)) {
			return true
		}
	}
	return false
}
