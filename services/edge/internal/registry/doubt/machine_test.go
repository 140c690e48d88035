package doubt_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/services/edge/internal/registry/doubt"
)

// story is a connection in the course of time: each step changes what is seen, and is followed by checks.
type story struct {
	m    doubt.Machine
	seen doubt.Seen
	now  time.Duration
	got  []string
}

// check lets one interval pass.
func (s *story) check(elapsed time.Duration) doubt.Action {
	s.now += elapsed
	a := s.m.Check(elapsed, s.seen)
	if a != doubt.None {
		s.got = append(s.got, fmt.Sprintf("%v %v", s.now, a))
	}
	return a
}

func (s *story) pass(d time.Duration) {
	for end := s.now + d; s.now < end; {
		s.check(doubt.Every)
	}
}

func (s *story) hear()  { s.seen.Received++ }
func (s *story) begin() { s.seen.Begun++; s.seen.Waiting = true }
func (s *story) end()   { s.seen.Waiting = false }

func TestMachine(t *testing.T) {
	t.Parallel()
	const near, far = 20 * time.Millisecond, 300 * time.Millisecond
	for name, c := range map[string]struct {
		rtt  time.Duration
		run  func(s *story)
		want string
	}{
		"nothing is sent": {near, func(s *story) { s.pass(time.Minute) }, ""},
		"every request gets a response": {near, func(s *story) {
			for range 100 {
				s.begin()
				s.pass(50 * time.Millisecond)
				s.hear()
				s.end()
				s.pass(50 * time.Millisecond)
			}
		}, ""},
		"the transport acknowledges, the origin is slow": {near, func(s *story) {
			s.begin()
			s.pass(50 * time.Millisecond)
			s.hear()
			s.pass(time.Second)
		}, ""},
		"nothing comes at all": {near, func(s *story) {
			s.begin()
			s.pass(1400 * time.Millisecond)
		}, "150ms probe, 300ms doubt, 800ms probe, 1.3s probe"},
		"only the probe is acknowledged": {near, func(s *story) {
			s.begin()
			s.pass(200 * time.Millisecond)
			s.hear()
			s.pass(time.Second)
		}, "150ms probe"},
		"a slow origin on a connection without other traffic, whose pings come in time": {near, func(s *story) {
			s.begin()
			s.pass(150 * time.Millisecond)
			for range 10 {
				s.hear()
				s.pass(time.Second)
			}
		}, "150ms probe"},
		"a request waits, and the connection goes silent later": {near, func(s *story) {
			s.begin()
			s.pass(50 * time.Millisecond)
			s.hear()
			s.pass(1500 * time.Millisecond)
		}, "1.2s probe, 1.35s doubt"},
		"the silence of an idle connection says nothing": {near, func(s *story) {
			s.begin()
			s.pass(50 * time.Millisecond)
			s.end()
			s.hear()
			s.pass(time.Minute)
		}, ""},
		"the visitors have left before anything came": {near, func(s *story) {
			s.begin()
			s.pass(50 * time.Millisecond)
			s.end()
			s.pass(300 * time.Millisecond)
		}, "150ms probe, 300ms doubt"},
		"life ends the doubt, silence after the next request begins another": {near, func(s *story) {
			s.begin()
			s.pass(300 * time.Millisecond)
			s.hear()
			s.pass(100 * time.Millisecond)
			s.begin()
			s.pass(300 * time.Millisecond)
		}, "150ms probe, 300ms doubt, 350ms trust, 550ms probe, 700ms doubt"},
		"the request began after the last packet, within one interval": {near, func(s *story) {
			s.hear()
			s.begin()
			s.pass(300 * time.Millisecond)
		}, "150ms probe, 300ms doubt"},
		"more requests do not put the doubt off": {near, func(s *story) {
			for range 6 {
				s.begin()
				s.pass(50 * time.Millisecond)
			}
		}, "150ms probe, 300ms doubt"},
		"a long path has more time": {far, func(s *story) {
			s.begin()
			s.pass(2 * time.Second)
		}, "650ms probe, 1.55s doubt"},
		"a path that was not measured has a second": {0, func(s *story) {
			s.begin()
			s.pass(1300 * time.Millisecond)
		}, "150ms probe, 1.15s doubt"},
	} {
		s := &story{seen: doubt.Seen{RTT: c.rtt}}
		c.run(s)
		if got := strings.Join(s.got, ", "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestStoppedProcess: the time in which the process itself did not run is no silence of the peer.
func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	s := &story{seen: doubt.Seen{RTT: time.Millisecond}}
	s.begin()
	s.pass(50 * time.Millisecond)
	if a := s.check(time.Minute); a == doubt.Doubt {
		t.Fatal("in doubt after one check")
	}
	if a := s.check(time.Minute); a == doubt.Doubt {
		t.Fatal("in doubt after two checks")
	}
	s.hear()
	s.pass(time.Second)
	if slices.ContainsFunc(s.got, func(a string) bool { return strings.HasSuffix(a, "doubt") }) {
		t.Errorf("a stopped process doubts its connections: %q", s.got)
	}
}

// TestProbeNotSent: without a probe that was sent there is no doubt.
func TestProbeNotSent(t *testing.T) {
	t.Parallel()
	s := &story{seen: doubt.Seen{RTT: time.Millisecond}}
	s.begin()
	for range 100 {
		switch a := s.check(doubt.Every); a {
		case doubt.Probe:
			s.m.NotSent()
		case doubt.Doubt, doubt.Trust:
			t.Fatalf("%v at %v although no probe could be sent", a, s.now)
		case doubt.None:
		}
	}
}
