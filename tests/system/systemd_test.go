//go:build system && linux

package system_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/culvert-tunnel/culvert/tests/harness"
)

// containerUnits are the units of the container: what runs inside.sh, and the target that is booted instead of all that this machine runs.
func containerUnits() map[string]string {
	return map[string]string{
		"culvert-test.target": "[Unit]\nRequires=basic.target culvert-test.service\nAfter=basic.target\nAllowIsolate=yes\n",
		"culvert-test.service": "[Unit]\nAfter=basic.target\n[Service]\nType=oneshot\nExecStart=/inside.sh\n" +
			"Environment=PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
	}
}

// waitsForNetwork are units that would wait for a network that the container does not have.
func waitsForNetwork() []string {
	return []string{"systemd-networkd-wait-online.service", "NetworkManager-wait-online.service", "ifupdown-wait-online.service"}
}

// TestServiceUnderSystemd boots a real systemd in a container, installs the service there with a run token, and follows it through its
// life: ready when it is connected, a reload, a crash, a stop and its removal.
func TestServiceUnderSystemd(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a container needs root")
	}
	harness.Installed(t, "systemd-nspawn")
	harness.Installed(t, "curl")
	if text, err := exec.CommandContext(t.Context(), "unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt").CombinedOutput(); err != nil {
		t.Skipf("this system allows no mounts: %v: %s", err, text)
	}
	layer, out := t.TempDir(), t.TempDir()
	place := func(path string, content []byte, mode os.FileMode) {
		t.Helper()
		path = filepath.Join(layer, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) []byte {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, name := range []string{"culvert", "edge"} {
		place("usr/local/bin/"+name, read(harness.Binary(t, name)), 0o755)
	}
	place("inside.sh", read("testdata/systemd/inside.sh"), 0o755)
	for name, text := range containerUnits() {
		place("etc/systemd/system/"+name, []byte(text), 0o644)
	}
	for _, name := range waitsForNetwork() {
		if err := os.Symlink("/dev/null", filepath.Join(layer, "etc/systemd/system", name)); err != nil {
			t.Fatal(err)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if err := os.Chmod(layer, 0o755); err != nil { // the root directory of the container
		t.Fatal(err)
	}
	console, err := exec.CommandContext(ctx, "unshare", "-m", "sh", "testdata/systemd/boot.sh", layer, out).CombinedOutput()
	got, _ := os.ReadFile(filepath.Join(out, "results"))
	want, werr := os.ReadFile("testdata/systemd/want.txt")
	if werr != nil {
		t.Fatal(werr)
	}
	if bytes.Equal(got, want) {
		return
	}
	t.Errorf("%v\n%s\nwant\n%s\nconsole:\n%s", err, got, want, harness.Tail(string(console), 3000))
	for _, name := range []string{"install.log", "edge.log", "journal.log"} {
		if b, err := os.ReadFile(filepath.Join(out, name)); err == nil {
			t.Logf("%s:\n%s", name, harness.Tail(string(b), 3000))
		}
	}
}
