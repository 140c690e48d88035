package connector_test

import (
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
)

func TestStateDir(t *testing.T) {
	for _, tc := range []struct{ given, home, xdg, want string }{
		{"/s", "/h", "/x", "/s"},
		{"~/s", "/h", "", "/h/s"},
		{"", "/h", "/x", "/x/culvert"},
		{"", "/h", "relative", "/h/.local/state/culvert"},
		{"", "", "", ""},
	} {
		var flags []string
		if tc.given != "" {
			flags = []string{"state-dir=" + tc.given}
		}
		if got := connector.StateDir(resolve(t, nil, nil, flags...), tc.home, tc.xdg); got != tc.want {
			t.Errorf("StateDir(%q, %q, %q) = %q, want %q", tc.given, tc.home, tc.xdg, got, tc.want)
		}
	}
}
