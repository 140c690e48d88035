package cluster

import (
	"strings"
	"testing"
)

// overHTTP2 says which protocol a test's workers and edges speak: those below TestOverHTTP2 speak HTTP/2.
func overHTTP2(t *testing.T) bool { return strings.HasPrefix(t.Name(), "TestOverHTTP2/") }

// TestOverHTTP2 runs the scenarios about sessions, their loss and their end with HTTP/2 instead of QUIC.
func TestOverHTTP2(t *testing.T) {
	for name, test := range map[string]func(t *testing.T){
		"OneWorker":    TestOneWorker,
		"WorkerKilled": TestWorkerKilled,
		"StoreAway":    TestStoreAway,
	} {
		t.Run(name, test)
	}
}
