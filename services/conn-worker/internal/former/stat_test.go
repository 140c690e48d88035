package former

import (
	"strings"
	"testing"
)

const line = "4242 (conn-worker) S 1 4242 4242 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 987654 1 2 3"

func TestParseStat(t *testing.T) {
	for text, want := range map[string]stat{
		line: {4242, 'S', 987654},
		strings.Replace(line, "conn-worker", "a) Z 1 (b", 1): {4242, 'S', 987654},
		strings.Replace(line, " S ", " Z ", 1):               {4242, 'Z', 987654},
	} {
		if got, err := parseStat([]byte(text)); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "x (y) S", "4242) S (", "1 (x", "1 (x)", "1 (x) S 1 2",
		strings.Replace(line, "987654", "-1", 1), strings.Replace(line, " S ", " SS ", 1),
	} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q was accepted as %+v", text, got)
		}
	}
}

// FuzzParseStat: no text makes it panic, and what it accepts has a state.
func FuzzParseStat(f *testing.F) {
	f.Add([]byte(line))
	f.Add([]byte("1 ()) S"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := parseStat(text); err == nil && s.state == 0 {
			t.Errorf("%q has no state", text)
		}
	})
}
