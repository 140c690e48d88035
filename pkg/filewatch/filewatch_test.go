package filewatch_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReadRegular(t *testing.T) {
	dir := t.TempDir()
	file, link, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	write(t, file, "12345")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		path string
		max  int64
		want error
	}{
		"file":        {file, 5, nil},
		"link":        {link, 5, nil},
		"larger":      {file, 4, filewatch.ErrTooLarge},
		"fifo":        {fifo, 5, filewatch.ErrNotRegular},
		"device":      {"/dev/zero", 5, filewatch.ErrNotRegular},
		"directory":   {dir, 5, filewatch.ErrNotRegular},
		"endless":     {"/proc/self/mem", 5, syscall.EIO},
		"pseudo file": {"/proc/cpuinfo", 5, filewatch.ErrTooLarge},
		"missing":     {filepath.Join(dir, "none"), 5, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := filewatch.ReadRegular(tc.path, tc.max)
			if !errors.Is(err, tc.want) || (err == nil && string(b) != "12345") {
				t.Errorf("ReadRegular(%s, %d) = %q, %v, want error %v", tc.path, tc.max, b, err, tc.want)
			}
		})
	}
}

// recorder is a pair of files with everything that the watcher did about them.
type recorder struct {
	cert, key string
	watcher   *filewatch.Watcher
	applied   []string
	events    []string
}

// start watches a pair whose contents must begin with the same letter.
func start(t *testing.T) *recorder {
	t.Helper()
	dir := t.TempDir()
	r := &recorder{cert: filepath.Join(dir, "cert"), key: filepath.Join(dir, "key")}
	write(t, r.cert, "a-cert")
	write(t, r.key, "a-key")
	r.watcher = filewatch.New(func(e filewatch.Event) {
		text := e.Name + " changed"
		if e.Err != nil {
			text = e.Err.Error()
		}
		r.events = append(r.events, text)
	})
	if _, err := r.watcher.Add(filewatch.Set{Name: "pair", Paths: []string{r.cert, r.key}, MaxBytes: 100, Apply: r.apply}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *recorder) apply(contents [][]byte) error {
	if contents[0][0] != contents[1][0] {
		return errors.New("key does not fit")
	}
	r.applied = append(r.applied, string(contents[0])+"+"+string(contents[1]))
	return nil
}

func (r *recorder) expect(t *testing.T, applied, events []string) {
	t.Helper()
	if !slices.Equal(r.applied, applied) {
		t.Errorf("applied %q, want %q", r.applied, applied)
	}
	if !slices.EqualFunc(r.events, events, func(got, want string) bool { return strings.Contains(got, want) }) {
		t.Errorf("events %q, want %q", r.events, events)
	}
}

func TestPairIsAppliedTogether(t *testing.T) {
	r := start(t)
	r.watcher.Check()
	r.expect(t, []string{"a-cert+a-key"}, nil)
	write(t, r.cert, "b-cert")
	r.watcher.Check()
	r.watcher.Check()
	r.expect(t, []string{"a-cert+a-key"}, []string{"pair: key does not fit"})
	write(t, r.key, "b-key")
	r.watcher.Check()
	r.watcher.Check()
	r.expect(t, []string{"a-cert+a-key", "b-cert+b-key"}, []string{"pair: key does not fit", "pair changed"})
}

func TestFaultIsReportedOnceAndKeepsTheFormerContents(t *testing.T) {
	r := start(t)
	if err := os.Remove(r.key); err != nil {
		t.Fatal(err)
	}
	r.watcher.Check()
	r.watcher.Check()
	r.expect(t, []string{"a-cert+a-key"}, []string{"no such file"})
	write(t, r.key, strings.Repeat("a", 101))
	r.watcher.Check()
	r.expect(t, []string{"a-cert+a-key"}, []string{"no such file", "too large"})
	write(t, r.key, "a-key") // the former contents are back: nothing to apply
	r.watcher.Check()
	r.expect(t, []string{"a-cert+a-key"}, []string{"no such file", "too large"})
}

func TestSwappedDirectoryIsSeen(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, v, "token"), v)
	}
	data := filepath.Join(dir, "data")
	if err := os.Symlink("v1", data); err != nil {
		t.Fatal(err)
	}
	var got []string
	w := filewatch.New(func(filewatch.Event) {})
	stop, err := w.Add(filewatch.Set{Name: "token", Paths: []string{filepath.Join(data, "token")}, Apply: func(c [][]byte) error {
		got = append(got, string(c[0]))
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	swap := func(target string) {
		if err := errors.Join(os.Remove(data), os.Symlink(target, data)); err != nil {
			t.Fatal(err)
		}
		w.Check()
	}
	swap("v2")
	stop()
	swap("v1")
	if !slices.Equal(got, []string{"v1", "v2"}) {
		t.Errorf("applied %q", got)
	}
}

func TestRunLooksEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t)
		ctx, cancel := context.WithTimeout(t.Context(), filewatch.Interval+1)
		defer cancel()
		write(t, r.key, "a-other")
		if err := r.watcher.Run(ctx); err != nil {
			t.Fatal(err)
		}
		r.expect(t, []string{"a-cert+a-key", "a-cert+a-other"}, []string{"pair changed"})
	})
}

func TestFirstReadFails(t *testing.T) {
	var w *filewatch.Watcher // reads once
	apply := func([][]byte) error { return nil }
	if _, err := w.Add(filewatch.Set{Name: "token", Paths: []string{"/does/not/exist"}, Apply: apply}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Add of a missing file = %v", err)
	}
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "x")
	if _, err := w.Add(filewatch.Set{Name: "token", Paths: []string{path}, Apply: apply}); err != nil {
		t.Errorf("Add = %v", err)
	}
}

// TestSettle has a file that an editor writes in two steps: Run must not apply the half that it sees first, and Check applies what is
// there.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "rules")
		write(t, path, "old")
		var mu sync.Mutex
		var applied []string
		w := filewatch.New(func(filewatch.Event) {})
		if _, err := w.Add(filewatch.Set{Name: "rules", Paths: []string{path}, Settle: true, Apply: func(contents [][]byte) error {
			mu.Lock()
			defer mu.Unlock()
			applied = append(applied, string(contents[0]))
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		look := func(text string, want ...string) {
			t.Helper()
			if text != "" {
				write(t, path, text)
			}
			<-time.After(filewatch.Interval)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(applied, want) {
				t.Errorf("after %q: applied %q, want %q", text, applied, want)
			}
		}
		look("half", "old")
		look("whole", "old")
		look("", "old", "whole")
		look("half", "old", "whole")
		look("whole", "old", "whole")
		look("half", "old", "whole") // the former half was not the same change
		w.Check()
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"old", "whole", "half"}; !slices.Equal(applied, want) {
			t.Errorf("after Check: applied %q, want %q", applied, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
