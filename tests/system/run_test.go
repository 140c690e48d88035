//go:build system

package system_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// patience bounds every wait for a condition.
const patience = testkit.Patience

// figures are the resources of a process that a leak would increase.
type figures struct {
	descriptors, goroutines int
	residentMiB             int
}

func (f figures) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d MiB", f.descriptors, f.goroutines, f.residentMiB)
}

// measure reads the figures of a process; metrics is the address of its /metrics.
func measure(t *testing.T, pid int, metrics string) figures {
	t.Helper()
	var f figures
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	f.descriptors = len(fds)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.SplitSeq(string(status), "\n") {
		if rest, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			f.residentMiB = kb >> 10
		}
	}
	for l := range strings.SplitSeq(get(t, "http://"+metrics+"/metrics"), "\n") {
		if rest, ok := strings.CutPrefix(l, "go_goroutines "); ok {
			n, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				t.Fatal(err)
			}
			f.goroutines = int(n)
		}
	}
	return f
}

func get(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s\n%s", url, resp.Status, b)
	}
	return string(b)
}
