package lastgood_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/lastgood"
)

func pushed(id tunnel.ID, version int32, document string) lastgood.Copy {
	return lastgood.Copy{Update: remoteconfig.Update{Tunnel: id, Version: version, Document: []byte(document)}}
}

func TestCopies(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	c := lastgood.New(dir)
	if all, err := c.Load(); len(all) != 0 || err != nil {
		t.Errorf("before any copy: %v, %v", all, err)
	}
	one := pushed(tunnel.ID{1}, 0, `{"ingress":[]}`)
	two := pushed(tunnel.ID{2}, 7, `{"ingress":[{"service":"http://u:secret@h"}]}`)
	two.Number = 1700000000000
	for _, u := range []lastgood.Copy{one, pushed(two.Tunnel, 6, "null"), two} {
		if err := c.Save(u); err != nil {
			t.Fatal(err)
		}
	}
	all, err := c.Load()
	slices.SortFunc(all, func(a, b lastgood.Copy) int { return bytes.Compare(a.Tunnel[:], b.Tunnel[:]) })
	if d := cmp.Diff([]lastgood.Copy{one, two}, all); d != "" || err != nil {
		t.Errorf("%v: %s", err, d)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
}

// TestDamagedCopies has copies that cannot be used: each is named in the error, and none hides the good one.
func TestDamagedCopies(t *testing.T) {
	dir := t.TempDir()
	c := lastgood.New(dir)
	good := pushed(tunnel.ID{9}, 3, `{}`)
	if err := c.Save(good); err != nil {
		t.Fatal(err)
	}
	damaged := map[string]string{
		"configuration-00000000-0000-0000-0000-000000000001.json": "{",
		"configuration-00000000-0000-0000-0000-000000000002.json": `{"version":-1,"config":{}}`,
		"configuration-00000000-0000-0000-0000-000000000003.json": `{"version":4}`,
		"configuration-shop.json":                                 `{"version":4,"config":{}}`,
	}
	for name, text := range damaged {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "applying-x.json"), []byte("{"), 0o600); err != nil { // of another part
		t.Fatal(err)
	}
	all, err := c.Load()
	if d := cmp.Diff([]lastgood.Copy{good}, all); d != "" {
		t.Error(d)
	}
	if err == nil || strings.Contains(err.Error(), "applying") {
		t.Fatalf("error %v", err)
	}
	for name := range damaged {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}

func TestNoDirectory(t *testing.T) {
	c := lastgood.New("")
	if err := c.Save(pushed(tunnel.ID{}, 0, "{}")); err != nil {
		t.Error(err)
	}
	if all, err := c.Load(); all != nil || err != nil {
		t.Errorf("%v, %v", all, err)
	}
}

func TestUnwritableDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := lastgood.New(path)
	if err := c.Save(pushed(tunnel.ID{}, 0, "{}")); err == nil {
		t.Error("a copy below a file is no error")
	}
	if _, err := c.Load(); err == nil {
		t.Error("a directory that is a file is no error")
	}
}

// TestLargestDocument has characters that an encoder for web pages would write with six bytes each.
func TestLargestDocument(t *testing.T) {
	c := lastgood.New(t.TempDir())
	u := pushed(tunnel.ID{1}, 7, `"`+strings.Repeat("<&>", (remoteconfig.MaxUpdate-2)/3)+`"`)
	if err := c.Save(u); err != nil {
		t.Fatal(err)
	}
	is := func(what string) {
		t.Helper()
		all, err := c.Load()
		if err != nil || len(all) != 1 || all[0].Version != 7 || !bytes.Equal(all[0].Document, u.Document) {
			t.Errorf("%s: %d copies, %v", what, len(all), err)
		}
	}
	is("the largest document")
	if err := c.Save(pushed(tunnel.ID{1}, 8, `"`+strings.Repeat("x", remoteconfig.MaxUpdate+1<<10)+`"`)); err == nil {
		t.Error("a copy that Load does not accept was saved")
	}
	is("after one that is too large")
}
