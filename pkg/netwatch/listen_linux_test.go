package netwatch

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// inNamespace runs f on a thread that has a network namespace of its own, and ends the thread with it.
func inNamespace(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	entered := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlocked: the thread must not run anything else
		err := unix.Unshare(unix.CLONE_NEWNET)
		entered <- err
		if err == nil {
			f()
		}
	}()
	if err := <-entered; err != nil {
		t.Skipf("needs a network namespace: %v", err)
	}
	<-ended
}

// What happens to addresses and routes in a network namespace is noticed, and what is of the host alone is not.
func TestNetworkNamespace(t *testing.T) {
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("needs ip of iproute2")
	}
	inNamespace(t, func() {
		run := func(line string) {
			if out, err := exec.CommandContext(t.Context(), ip, strings.Fields(line)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v: %s", line, err, out)
			}
		}
		socket, err := open()
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		var changes atomic.Int64
		var reader sync.WaitGroup
		reader.Go(func() { _ = read(ctx, socket, func() { changes.Add(1) }) })
		defer func() { cancel(); reader.Wait() }()
		count := func(what string, lines ...string) {
			before := changes.Load()
			for _, line := range lines {
				run(line)
			}
			testkit.Eventually(t, what, func() bool { return changes.Load() > before })
		}
		run("link set lo up") // the addresses of the host alone
		if n := changes.Load(); n != 0 {
			t.Errorf("%d changes by the loopback interface", n)
		}
		run("link add v0 type veth peer name v1")
		run("link set v0 up")
		run("link set v1 up")
		count("an address", "addr add 192.0.2.1/24 dev v0")
		count("a default route", "route add default via 192.0.2.2")
		count("the loss of the route", "route del default")
		count("the loss of the address", "addr del 192.0.2.1/24 dev v0")
	})
}

// FuzzConcerns: no message makes the parser read beyond its end.
func FuzzConcerns(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 64))
	f.Fuzz(func(_ *testing.T, b []byte) { concerns(b) })
}

// TestRunEnds: the end of the context ends everything.
func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Run(ctx, slog.New(slog.DiscardHandler), func() {})
	}()
	cancel()
	testkit.Receive(t, "the end", ended)
}
