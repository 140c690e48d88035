package host

import (
	"testing"
	"time"
)

func TestParseCommand(t *testing.T) {
	for line, want := range map[string]command{
		"":                {},
		" \t":             {},
		"help":            {action: actHelp},
		"reconnect":       {action: actReconnect},
		"reconnect 15s":   {action: actReconnect, delay: 15 * time.Second},
		" reconnect  1m ": {action: actReconnect, delay: time.Minute},
		"reconnect -5s":   {action: actReconnect},
		"reconnect 1s 2s": {action: actUnknown},
		"restart":         {action: actUnknown},
		"help me":         {action: actUnknown},
	} {
		if got, err := parseCommand(line); got != want || err != nil {
			t.Errorf("parseCommand(%q) = %+v, %v, want %+v", line, got, err, want)
		}
	}
	if _, err := parseCommand("reconnect soon"); err == nil || err.Error() != `reconnect: "soon" is not a duration such as 10s` {
		t.Errorf("parseCommand(reconnect soon): %v", err)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, line := range []string{"", "help", "reconnect", "reconnect 1h2m", "reconnect \x00", "reconnect 9223372036854775807ns"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		cmd, err := parseCommand(line)
		if cmd.delay < 0 || cmd.delay > 0 && cmd.action != actReconnect || err != nil && cmd != (command{}) {
			t.Errorf("parseCommand(%q) = %+v, %v", line, cmd, err)
		}
	})
}
