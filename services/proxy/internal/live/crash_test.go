package live_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/crashmark"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/live"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/localrules"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/opener"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

const (
	// crashDir is the variable that makes the test binary a process that applies crashing and then harmless.
	crashDir = "LIVE_CRASH_STATE_DIR"
	crashing = `{"ingress":[{"service":"http://crash.test"}]}`
	harmless = `{"ingress":[{"service":"http_status:404"}]}`
	// exitCrash is how the process ends while it applies crashing.
	exitCrash = 3
)

// crashingOpener ends the process for one service.
type crashingOpener struct{ *opener.Opener }

func (o crashingOpener) Open(svc ingress.Service, set ingress.OriginRequest, ca []byte) (*origin.Origin, error) {
	if svc.Text() == "http://crash.test" {
		os.Exit(exitCrash)
	}
	return o.Opener.Open(svc, set, ca)
}

// TestCrashingProcess is the process of the test below, and skipped otherwise.
func TestCrashingProcess(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("runs in a process of its own")
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	s, err := live.New(live.Config{
		Rules: localrules.Rules{General: ingress.Default503()}, Opener: crashingOpener{opener.New(log, nil)}, StateDir: dir, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Table().Close()
	id := tunnel.ID{1}
	for range 4 { // each connection pushes
		_, err := s.Apply(t.Context(), remoteconfig.Update{Tunnel: id, Version: 1, Document: []byte(crashing)})
		var rejected *remoteconfig.RejectedError
		if !errors.As(err, &rejected) || !strings.Contains(err.Error(), crashmark.ErrCrashes.Error()) {
			t.Errorf("Apply: %v", err)
		}
	}
	next := remoteconfig.Update{Tunnel: id, Version: 2, Document: []byte(harmless)}
	if version, err := s.Apply(t.Context(), next); err != nil || version != 2 {
		t.Errorf("the next version: %d, %v", version, err)
	}
	fmt.Println("survived")
}

// TestDocumentThatEndsTheProcessIsGivenUp starts processes that die while they apply a document, until one does not try any more.
func TestDocumentThatEndsTheProcessIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	start := func() (out []byte, code int) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashingProcess$")
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, _ = cmd.CombinedOutput() // the exit code says it
		return out, cmd.ProcessState.ExitCode()
	}
	for i := range crashmark.MaxAttempts {
		if out, code := start(); code != exitCrash {
			t.Fatalf("process %d ended with %d:\n%s", i, code, out)
		}
	}
	out, code := start()
	if code != 0 || !bytes.Contains(out, []byte("survived")) {
		t.Fatalf("last process ended with %d:\n%s", code, out)
	}
	if n := strings.Count(string(out), "configuration rejected"); n != 1 {
		t.Errorf("%d lines about the rejection, want 1:\n%s", n, out)
	}
}
