package crashmark_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/crashmark"
)

func TestADocumentIsBegunOnlySoOften(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state") // made when it is needed
	id, other := tunnel.ID{1}, tunnel.ID{2}
	begin := func(id tunnel.ID, document string) error { return crashmark.New(dir).Begin(id, []byte(document)) } // as a new process
	for i := range crashmark.MaxAttempts {
		if err := begin(id, "bad"); err != nil {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
	for range 2 {
		if err := begin(id, "bad"); !errors.Is(err, crashmark.ErrCrashes) {
			t.Errorf("a further attempt: %v", err)
		}
	}
	if err := begin(other, "bad"); err != nil {
		t.Errorf("the same document of another tunnel: %v", err)
	}
	if err := begin(id, "good"); err != nil {
		t.Errorf("another document: %v", err)
	}
	if err := crashmark.New(dir).End(id); err != nil {
		t.Error(err)
	}
	if err := begin(id, "good"); err != nil {
		t.Errorf("a document that was applied: %v", err)
	}
}

func TestUnusableMarks(t *testing.T) {
	dir := t.TempDir()
	id := tunnel.ID{1}
	marks := crashmark.New(dir)
	if err := marks.End(id); err != nil {
		t.Errorf("End without Begin: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "applying-"+id.String()+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := marks.Begin(id, []byte("x")); err != nil {
		t.Errorf("over a broken mark: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := crashmark.New(file).Begin(id, nil); err == nil || errors.Is(err, crashmark.ErrCrashes) {
		t.Errorf("a directory that is a file: %v", err)
	}
	none := crashmark.New("")
	for range 2 * crashmark.MaxAttempts {
		if err := none.Begin(id, nil); err != nil {
			t.Fatal(err)
		}
	}
}
