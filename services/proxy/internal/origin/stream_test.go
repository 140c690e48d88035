package origin_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/origin"
)

func TestBastionDestinations(t *testing.T) {
	b, err := os.ReadFile("testdata/bastion_destinations.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct{ Header, Destination, Error string }
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range file.Cases {
		got, err := origin.BastionDestination(c.Header)
		if got != c.Destination || (err != nil) != (c.Error != "") || err != nil && err.Error() != c.Error {
			t.Errorf("BastionDestination(%q) = %q, %v, want %q, %q", c.Header, got, err, c.Destination, c.Error)
		}
	}
}
