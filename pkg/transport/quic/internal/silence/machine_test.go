package silence_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport/quic/internal/silence"
)

// story is a session in the course of time.
type story struct {
	m    *silence.Machine
	seen silence.Seen
	port silence.Port
	now  time.Duration
	got  []string
}

// pass lets time pass in checks. A probe takes no time.
func (s *story) pass(d time.Duration) {
	for end := s.now + d; s.now < end; {
		s.now += silence.Every
		a := s.m.Check(silence.Every, s.seen)
		for a == silence.Ask {
			s.got = append(s.got, fmt.Sprintf("%v ask", s.now))
			a = s.m.Reply(s.port, s.seen)
		}
		if a == silence.End {
			s.got = append(s.got, fmt.Sprintf("%v end", s.now))
			return
		}
	}
}

func (s *story) send(n uint64) { s.seen.Sent += n }
func (s *story) hear()         { s.seen.Received++ }

func TestMachine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rtt  time.Duration
		port silence.Port
		run  func(s *story)
		want string
	}{
		"nothing happens": {0, silence.Closed, func(s *story) { s.pass(time.Minute) }, ""},
		"an acknowledgement of our own gets no response": {0, silence.Closed, func(s *story) {
			s.send(2)
			s.pass(time.Minute)
		}, ""},
		"keep-alives are acknowledged": {0, silence.Closed, func(s *story) {
			for range 60 {
				s.send(1)
				s.pass(silence.Every)
				s.hear()
				s.pass(time.Second)
			}
		}, ""},
		"the port is closed": {0, silence.Closed, func(s *story) {
			s.pass(time.Second)
			s.send(5)
			s.pass(time.Second)
		}, "1.1s ask, 1.1s ask, 1.1s end"},
		"closed under load": {0, silence.Closed, func(s *story) {
			s.send(100)
			s.pass(time.Second)
		}, "200ms ask, 200ms ask, 200ms end"},
		"nothing responds": {0, silence.Silent, func(s *story) {
			s.send(5)
			s.pass(time.Second)
		}, "200ms ask, 500ms ask, 800ms ask"},
		"something listens": {0, silence.Open, func(s *story) {
			s.send(5)
			s.pass(2 * time.Second)
		}, "200ms ask, 1.2s ask"},
		"one message in vain: a packet of the edge takes it back": {0, silence.Closed, func(s *story) {
			s.send(5)
			s.pass(100 * time.Millisecond)
			s.hear()
			s.pass(time.Minute)
		}, ""},
		"a long path": {200 * time.Millisecond, silence.Closed, func(s *story) {
			s.send(5)
			s.pass(time.Second)
		}, "600ms ask, 600ms ask, 600ms end"},
	} {
		s := &story{seen: silence.Seen{Sent: 10, Received: 10, RTT: c.rtt}, port: c.port}
		s.m = silence.New(s.seen)
		c.run(s)
		if got := strings.Join(s.got, ", "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestClosedOnce: when the host limits how many ICMP messages it sends, one of them and the silence of the session decide.
func TestClosedOnce(t *testing.T) {
	t.Parallel()
	seen := silence.Seen{Sent: 5}
	m := silence.New(silence.Seen{})
	m.Check(silence.Every, seen)
	if a := m.Check(silence.Every, seen); a != silence.Ask {
		t.Fatalf("a silent session: %d, want a probe", a)
	}
	if a := m.Reply(silence.Closed, seen); a != silence.Ask {
		t.Fatalf("a closed port: %d, want another probe", a)
	}
	if a := m.Reply(silence.Silent, seen); a != silence.None {
		t.Fatalf("no reply to that: %d, want to wait", a)
	}
	for range 2 {
		if a := m.Check(silence.Every, seen); a != silence.None {
			t.Fatalf("soon after: %d, want to wait", a)
		}
	}
	if a := m.Check(silence.Every, seen); a != silence.End {
		t.Errorf("after the time to confirm: %d, want the end", a)
	}
}

// TestLifeTakesBack: at every point a packet of the edge keeps the session.
func TestLifeTakesBack(t *testing.T) {
	t.Parallel()
	seen := silence.Seen{Sent: 5}
	heard := silence.Seen{Sent: 5, Received: 1}
	for name, last := range map[string]func(m *silence.Machine) silence.Action{
		"before the first reply": func(m *silence.Machine) silence.Action { return m.Reply(silence.Closed, heard) },
		"before the second reply": func(m *silence.Machine) silence.Action {
			m.Reply(silence.Closed, seen)
			return m.Reply(silence.Closed, heard)
		},
		"before the confirmation": func(m *silence.Machine) silence.Action {
			m.Reply(silence.Closed, seen)
			m.Reply(silence.Silent, seen)
			m.Check(silence.Every, seen)
			m.Check(silence.Every, seen)
			return m.Check(silence.Every, heard)
		},
		"and a reply that comes late": func(m *silence.Machine) silence.Action {
			m.Reply(silence.Closed, seen)
			m.Check(silence.Every, heard)
			return m.Reply(silence.Closed, heard)
		},
	} {
		m := silence.New(silence.Seen{})
		m.Check(silence.Every, seen)
		m.Check(silence.Every, seen)
		if a := last(m); a == silence.End {
			t.Errorf("%s: the session ended although the edge lives", name)
		}
	}
}

// TestNext: an idle session is checked less often than one that waits.
func TestNext(t *testing.T) {
	t.Parallel()
	seen := silence.Seen{Sent: 10, Received: 10}
	m := silence.New(seen)
	idle := m.Next()
	seen.Sent++
	m.Check(idle, seen)
	if waits := m.Next(); waits != silence.Every || waits >= idle {
		t.Errorf("checked every %v while it waits, every %v when idle", waits, idle)
	}
	seen.Received++
	m.Check(silence.Every, seen)
	if again := m.Next(); again != idle {
		t.Errorf("checked every %v after a packet came, want %v", again, idle)
	}
}
