package cluster

import (
	"strings"
	"testing"
)

// overHTTP2 reports whether the workers and edges of a test use HTTP/2: those below TestOverHTTP2 do.
func overHTTP2(t *testing.T) bool { return strings.HasPrefix(t.Name(), "TestOverHTTP2/") }

// TestOverHTTP2 repeats the scenarios that depend on sessions, their loss and their end with HTTP/2 instead of QUIC.
func TestOverHTTP2(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(t *testing.T){
		"OneWorker":    TestOneWorker,
		"WorkerKilled": TestWorkerKilled,
		"StoreAway":    TestStoreAway,
		"Upgrade":      TestUpgradeToAnotherProtocol,
	} {
		t.Run(name, test)
	}
}
