package discovery

import (
	"os"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// TestRootsOfTheResolverAreReadAgain: an authority that is replaced counts for the next query over TLS.
func TestRootsOfTheResolverAreReadAgain(t *testing.T) {
	first, second := testkit.NewCA(t), testkit.NewCA(t)
	files := filewatch.New(func(filewatch.Event) {})
	d := DoT{ServerName: "dns.example", CAFile: first.File(t)}
	conf, err := d.tls(files)
	if err != nil {
		t.Fatalf("tls() = %v", err)
	}
	if !conf().RootCAs.Equal(first.Pool()) || conf().ServerName != "dns.example" {
		t.Errorf("the configuration has other roots than the file, or the server name %q", conf().ServerName)
	}
	if err := os.WriteFile(d.CAFile, second.PEM(), 0o600); err != nil {
		t.Fatalf("replace the authority: %v", err)
	}
	files.Check()
	if !conf().RootCAs.Equal(second.Pool()) {
		t.Error("the roots are not those of the replaced file")
	}
}
