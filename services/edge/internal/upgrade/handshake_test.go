package upgrade_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/services/edge/internal/upgrade"
)

func TestSwitchedNamesAProtocolThatWasAskedFor(t *testing.T) {
	for _, tc := range []struct {
		status int
		named  []string
		asked  string
		want   string
	}{
		{101, []string{"echo/1"}, "echo/1", "echo/1"},
		{101, []string{"echo/1"}, "other/2, Echo/1", "echo/1"},
		{101, []string{"echo/2"}, "echo/1", ""},
		{101, nil, "echo/1", ""},
		{101, []string{"echo/1", "other/2"}, "echo/1, other/2", ""},
		{101, []string{"echo/1, other/2"}, "echo/1, other/2", ""},
		{200, []string{"echo/1"}, "echo/1", ""},
	} {
		if got := upgrade.Switched(tc.status, tc.named, tc.asked); got != tc.want {
			t.Errorf("Switched(%d, %q, %q) = %q, want %q", tc.status, tc.named, tc.asked, got, tc.want)
		}
	}
}
