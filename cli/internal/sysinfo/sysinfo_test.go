package sysinfo

import (
	"context"
	"encoding/json"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestCollect(t *testing.T) {
	r := New("v1").Collect(t.Context())
	i := r.Info
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if i.Version != "v1" || i.GoVersion != runtime.Version() || i.GoArch != runtime.GOARCH || i.HostName != host {
		t.Errorf("info = %+v", i)
	}
	if i.MemoryMaximum == 0 || i.MemoryCurrent == 0 || i.MemoryCurrent > i.MemoryMaximum {
		t.Errorf("memory: %d of %d KB, errors %v", i.MemoryCurrent, i.MemoryMaximum, r.Errors)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if len(r.Errors) != 0 || i.FileDescriptorCurrent == 0 || i.FileDescriptorMaximum < i.FileDescriptorCurrent || i.OSSystem != "Linux" ||
		i.OSVersion == "" || i.OSRelease == "" || i.Architecture == "" || len(i.Disk) == 0 {
		t.Errorf("report = %+v", r)
	}
	seen := map[string]bool{}
	for _, d := range i.Disk {
		if d.Name == "" || d.Maximum == 0 || d.Current > d.Maximum || (strings.HasPrefix(d.Name, "/") && seen[d.Name]) {
			t.Errorf("disk %+v", d)
		}
		seen[d.Name] = true
	}
}

// TestCollectDoesNotWait has a part that does not respond: the others are reported, and nobody asks it again meanwhile.
func TestCollectDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		var calls atomic.Int32
		c := New("v1")
		c.parts = []part{
			{"memoryInformationError", func(context.Context) (func(*Info), error) { return func(i *Info) { i.MemoryMaximum = 7 }, nil }},
			{"diskVolumeInformationError", func(context.Context) (func(*Info), error) {
				calls.Add(1)
				<-stuck
				return nil, &rawError{context.Canceled, "df"}
			}},
		}
		r := c.Collect(t.Context())
		if r.Info.MemoryMaximum != 7 || !strings.Contains(r.Errors["diskVolumeInformationError"].Err, "deadline") {
			t.Errorf("report = %+v", r)
		}
		if r = c.Collect(t.Context()); r.Errors["diskVolumeInformationError"].Err != errBusy.Error() || calls.Load() != 1 {
			t.Errorf("second report = %+v after %d calls", r, calls.Load())
		}
		close(stuck)
		synctest.Wait()
		r = c.Collect(t.Context())
		b, err := json.Marshal(r.Errors)
		if want := `{"diskVolumeInformationError":{"error":"context canceled","rawInfo":"df"}}`; err != nil || string(b) != want {
			t.Errorf("errors = %s, %v, want %s", b, err, want)
		}
	})
}

func TestParseFileNumbers(t *testing.T) {
	if used, most, err := parseFileNumbers("486\t0\t2466165\n"); used != 486 || most != 2466165 || err != nil {
		t.Errorf("got %d of %d, %v", used, most, err)
	}
	for _, text := range []string{"", "1 2", "1 2 3 4", "x 0 1", "1 0 x", "-1 0 1"} {
		if _, _, err := parseFileNumbers(text); err == nil {
			t.Errorf("%q is no error", text)
		}
	}
}

func FuzzParseFileNumbers(f *testing.F) {
	f.Add("486\t0\t2466165\n")
	f.Add("9223372036854775807 0 18446744073709551615")
	f.Fuzz(func(t *testing.T, text string) {
		if used, most, err := parseFileNumbers(text); err != nil && (used != 0 || most != 0) {
			t.Errorf("%q: %d of %d and %v", text, used, most, err)
		}
	})
}
