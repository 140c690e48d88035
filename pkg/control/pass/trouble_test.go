package pass

import (
	"testing"
	"time"
)

// TestAPartThatIsDownIsToldOnce: when the keys of many tunnels are not available, one line is enough; other errors are told one by one.
func TestAPartThatIsDownIsToldOnce(t *testing.T) {
	m := newMachine()
	m.now = time.Unix(1000, 0)
	for _, c := range []struct {
		kind    Kind
		subject string
		err     error
		want    bool
	}{
		{KindSlots, "a", away(), true},
		{KindConnector, "b", away(), false},
		{KindSlots, "c", errDecode, true},
		{KindSlots, "d", errDecode, true},
		{KindSlots, "d", errDecode, false},
	} {
		told, ok := m.trouble(c.kind, c.subject, c.err).(Trouble)
		if !ok || told.First != c.want {
			t.Errorf("%s %s (%v): first %v, want %v", c.kind, c.subject, c.err, told.First, c.want)
		}
	}
}
