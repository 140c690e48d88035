package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/redisstore"
)

// sharing takes shares of one lead.
type sharing struct {
	t    *testing.T
	s    *redisstore.Store
	role string
}

func (r sharing) take(member string, seen lease.Term, ttl time.Duration, join bool) lease.Share {
	r.t.Helper()
	share, err := r.s.TakeShare(r.t.Context(), r.role, member, seen, ttl, join)
	if err != nil {
		r.t.Fatalf("TakeShare(%s): %v", member, err)
	}
	return share
}

func (r sharing) leave(member string) {
	r.t.Helper()
	if err := r.s.LeaveShare(r.t.Context(), r.role, member); err != nil {
		r.t.Fatalf("LeaveShare(%s): %v", member, err)
	}
}

// want checks who leads, and that a share has a term above another one.
func (r sharing) want(what string, got lease.Share, above lease.Term, members ...string) {
	r.t.Helper()
	if !slices.Equal(got.Members, members) || got.Holds && got.Term <= above {
		r.t.Errorf("%s: %+v, want the members %v, and a term above %d", what, got, members, above)
	}
}

// testShares: every change of the members gives each of them a new term, no two have the same one, and a share that is renewed keeps it.
func testShares(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	r := sharing{t: t, s: open(t), role: unique(t)}
	a := r.take("a", 0, long, false)
	r.want("the first one", a, 0, "a")
	if !a.Holds || !a.Fresh || a.Before != 0 {
		t.Errorf("first share: %+v, want a fresh one and no term before", a)
	}
	if b := r.take("b", 0, long, false); b.Holds || !slices.Equal(b.Members, []string{"a"}) {
		t.Errorf("one that may not join yet: %+v, want that it stands by", b)
	}
	if again := r.take("a", a.Term, long, false); !again.Holds || again.Fresh || again.Term != a.Term || again.View != a.View {
		t.Errorf("renewed share: %+v, want term %d and view %d", again, a.Term, a.View)
	}
	b := r.take("b", 0, long, true)
	r.want("one that joins", b, a.Term, "a", "b")
	next := r.take("a", a.Term, long, true)
	r.want("the first one after that", next, b.Term, "a", "b")
	if next.View != b.View || next.Fresh || next.View != a.View+1 {
		t.Errorf("views %d, %d and %d, want one more, and then the same", a.View, b.View, next.View)
	}
	testSharesEnd(r, b, next)
}

// testSharesEnd goes on with the members a and b: one asks for a higher term, one leaves, and one's lease ends.
func testSharesEnd(r sharing, b, next lease.Share) {
	t := r.t
	t.Helper()
	if kept := r.take("b", b.Term, long, true); kept.Term != b.Term || kept.View != b.View {
		t.Errorf("renewed share: %+v, want term %d", kept, b.Term)
	}
	seen := next.Term + 1000000
	r.want("one that has seen a higher term", r.take("b", seen, long, true), seen, "a", "b")
	if got := r.take("a", next.Term, long, true); got.Term != next.Term {
		t.Errorf("the other one then: %+v, want term %d: the members are the same", got, next.Term)
	}
	r.leave("a")
	r.leave("x") // no member
	r.want("after one left", r.take("b", 0, short, true), seen+1, "b")
	eventually(t, "c leads instead of b, whose lease ended", func() bool {
		c := r.take("c", 0, long, false)
		return c.Holds && slices.Equal(c.Members, []string{"c"})
	})
}

// testSharesBesideLeader: to a version that knows one leader only, the members together are somebody else, and the other way round.
func testSharesBesideLeader(t *testing.T, open func(t *testing.T) *redisstore.Store) {
	r := sharing{t: t, s: open(t), role: unique(t)}
	alone := func() lease.Lead {
		t.Helper()
		lead, err := r.s.TakeTerm(t.Context(), r.role, "old", 0, long)
		if err != nil {
			t.Fatalf("TakeTerm: %v", err)
		}
		return lead
	}
	first := alone()
	if a := r.take("a", 0, long, true); a.Holds || !slices.Equal(a.Members, []string{"old"}) || a.Term != first.Term {
		t.Errorf("while a single one leads: %+v, want that it stands by", a)
	}
	if err := r.s.ResignLead(t.Context(), r.role, "old"); err != nil {
		t.Fatal(err)
	}
	a := r.take("a", first.Term, long, false)
	r.want("after that one resigned", a, first.Term, "a")
	b := r.take("b", 0, long, true)
	r.want("the next one", b, a.Term, "a", "b")
	if lead := alone(); lead.Holds || lead.Term < b.Term {
		t.Errorf("the single one while members lead: %+v, want that it stands by", lead)
	}
	r.leave("a")
	if lead := alone(); lead.Holds {
		t.Errorf("the single one while a member leads: %+v", lead)
	}
	r.leave("b")
	if lead := alone(); !lead.Holds || lead.Term <= b.Term {
		t.Errorf("the single one when no member is left: %+v, want a term above %d", lead, b.Term)
	}
}
