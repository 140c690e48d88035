package keep_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/control/keep"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestMarks: a change is marked once it is stored; a mark that failed is made again after the next renewal of the worker's lease, and one
// that is asked for meanwhile follows the one on its way.
func TestMarks(t *testing.T) {
	l := settled(t) // with a mark on its way
	l.want(keep.Marked{Err: tunnel.ErrUnavailable}, "observe error")
	if l.m.Idle() {
		t.Error("a mark that failed does not wait for a renewal")
	}
	l.after(10 * time.Millisecond).step(keep.Timer{})
	l.want(keep.Looked{Sent: l.now, Err: tunnel.ErrUnavailable}, "")
	l.want(keep.Looked{Sent: l.now}, "mark")
	l.want(keep.Looked{Sent: l.now}, "")
	// Another change before the reply.
	v := l.views[1]
	v.Status.Location = "elsewhere"
	l.views[1] = v
	l.want(keep.Looked{Sent: l.now}, "call renew 0@5=connected")
	r := of(record(0, me, 5, addr(0, 0)), "a")
	r.Status.State = lease.StateConnected
	l.want(keep.Renewed{Table: lease.Table{Records: []lease.Record{r}}}, "observe; wake 10ms")
	if got := l.step(keep.Marked{}); !strings.Contains(got, "mark") {
		t.Errorf("after the first mark: %q, want another one", got)
	}
	l.want(keep.Marked{}, "observe")
}
