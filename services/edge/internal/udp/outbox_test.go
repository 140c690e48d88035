package udp

import "testing"

func TestOutbox(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	if !o.put([]byte("12"), 3) || o.put([]byte("34"), 3) || !o.put([]byte("5"), 3) {
		t.Error("the limit is not enforced")
	}
	if got := o.take(nil); len(got) != 2 || string(got[0]) != "12" || string(got[1]) != "5" {
		t.Errorf("took %q", got)
	}
	if !o.put([]byte("678"), 3) {
		t.Error("datagrams that were taken still count")
	}
	var again [][]byte
	for i := range 2*resendBurst + 5 {
		again = append(again, []byte{byte(i)})
	}
	o.putAgain(again[:3])
	o.putAgain(again[3:])
	next := 0
	for _, want := range []int{resendBurst, resendBurst, 5, 0} {
		got := o.takeAgain()
		if len(got) != want {
			t.Fatalf("a burst of %d, want %d", len(got), want)
		}
		for _, b := range got {
			if int(b[0]) != next {
				t.Fatalf("got %d, want %d", b[0], next)
			}
			next++
		}
	}
}
