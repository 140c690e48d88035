package dial

import (
	"os"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/edgeroots"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// TestDefaultRootsTrustTheVendorsEdge: without cacert a worker trusts what cloudflared trusts without a flag.
func TestDefaultRootsTrustTheVendorsEdge(t *testing.T) {
	got, err := Roots("", nil)
	if err != nil {
		t.Fatalf("Roots() = %v", err)
	}
	want, err := edgeroots.Pool()
	if err != nil {
		t.Fatalf("Pool() = %v", err)
	}
	if !got().Equal(want) {
		t.Error("the roots without cacert are not the system's and the embedded ones")
	}
}

// TestRootsOfAFileReplaceTheDefaultOnes: with cacert nothing else is trusted.
func TestRootsOfAFileReplaceTheDefaultOnes(t *testing.T) {
	ca := testkit.NewCA(t)
	got, err := Roots(ca.File(t), nil)
	if err != nil {
		t.Fatalf("Roots() = %v", err)
	}
	if !got().Equal(ca.Pool()) {
		t.Error("the roots with cacert are not those of the file alone")
	}
}

// TestRootsAreReadAgain: an authority that is replaced counts for the next connection to the edge.
func TestRootsAreReadAgain(t *testing.T) {
	first, second := testkit.NewCA(t), testkit.NewCA(t)
	path := first.File(t)
	files := filewatch.New(func(filewatch.Event) {})
	roots, err := Roots(path, files)
	if err != nil {
		t.Fatalf("Roots() = %v", err)
	}
	if err := os.WriteFile(path, second.PEM(), 0o600); err != nil {
		t.Fatalf("replace the authority: %v", err)
	}
	files.Check()
	if !roots().Equal(second.Pool()) {
		t.Error("the roots are not those of the replaced file")
	}
}
