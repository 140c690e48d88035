package dial

import (
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/edgeroots"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// TestDefaultRootsTrustTheVendorsEdge: without cacert a worker trusts what cloudflared trusts without a flag.
func TestDefaultRootsTrustTheVendorsEdge(t *testing.T) {
	got, err := Roots("")
	if err != nil {
		t.Fatalf("Roots() = %v", err)
	}
	want, err := edgeroots.Pool()
	if err != nil {
		t.Fatalf("Pool() = %v", err)
	}
	if !got.Equal(want) {
		t.Error("the roots without cacert are not the system's and the embedded ones")
	}
}

// TestRootsOfAFileReplaceTheDefaultOnes: with cacert nothing else is trusted.
func TestRootsOfAFileReplaceTheDefaultOnes(t *testing.T) {
	ca := testkit.NewCA(t)
	got, err := Roots(ca.File(t))
	if err != nil {
		t.Fatalf("Roots() = %v", err)
	}
	if !got.Equal(ca.Pool()) {
		t.Error("the roots with cacert are not those of the file alone")
	}
}
