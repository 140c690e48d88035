package operator

import (
	"encoding/json"
	"testing"

	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// A connection that rejected a push names the version that stays in force, which may be higher than the pushed one.
func TestApplied(t *testing.T) {
	for text, want := range map[string]bool{
		`{"connections":[]}`: true,
		`{"connections":[{"pushed_version":1,"applied_version":1}]}`:                                                             true,
		`{"connections":[{"pushed_version":1,"applied_version":2}]}`:                                                             true,
		`{"connections":[{"pushed_version":1,"applied_version":0}]}`:                                                             false,
		`{"connections":[{"pushed_version":1,"applied_version":1},{"pushed_version":1,"applied_version":3,"error":"rejected"}]}`: false,
	} {
		var now adminclient.Configuration
		if err := json.Unmarshal([]byte(text), &now); err != nil {
			t.Fatal(err)
		}
		if got := applied(now, 1); got != want {
			t.Errorf("applied(%s) = %v, want %v", text, got, want)
		}
	}
}
