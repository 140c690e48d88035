package lease

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// TestStories plays the transcripts of testdata/stories. A line is an event, or "advance DURATION", or a comment; the
// lines that start with ">" are the output and are rewritten with -update. While time advances, the timer fires when
// it is due.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file, play(t, string(b)))
		})
	}
}

type player struct {
	t   *testing.T
	m   *Machine
	now time.Time
	out strings.Builder
}

func play(t *testing.T, text string) string {
	p := &player{t: t, m: NewMachine(testPolicy()), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, ">") {
			continue
		}
		fmt.Fprintln(&p.out, line)
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if words[0] == "advance" {
			p.advance(p.duration(words[1]))
			continue
		}
		p.step("", p.event(words))
	}
	return p.out.String()
}

func (p *player) advance(d time.Duration) {
	end := p.now.Add(d)
	for !p.m.deadline.IsZero() && !p.m.deadline.After(end) {
		at := p.m.deadline
		left := end.Sub(at)
		p.now = at
		p.step(fmt.Sprintf("timer, %v before the end: ", left), Event{Kind: EventTimer})
	}
	p.now = end
}

func (p *player) step(prefix string, e Event) {
	p.t.Helper()
	actions, err := p.m.Step(p.now, e)
	if err != nil {
		fmt.Fprintf(&p.out, "> %serror: %v\n", prefix, err)
		return
	}
	s := p.m.Status(0)
	note := ""
	if s.Retries > 0 {
		note = fmt.Sprintf(" retries=%d reason=%s", s.Retries, s.Reason)
	}
	fmt.Fprintf(&p.out, "> %s%s [%s%s]", prefix, p.m.Phase(), s.State, note)
	for _, a := range actions {
		fmt.Fprintf(&p.out, "; %s", describe(a))
	}
	p.out.WriteByte('\n')
}

func (p *player) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// event reads "kind key=value ...".
func (p *player) event(words []string) Event {
	var e Event
	found := false
	for k := range eventKinds {
		if k.String() == words[0] {
			e, found = sample(k), true
		}
	}
	if !found {
		p.t.Fatalf("unknown event %q", words[0])
	}
	e.Grant.Wait = 0
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "epoch":
			n, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			e.Grant.Epoch = tunnel.Epoch(n)
		case "edge":
			n, err := strconv.Atoi(value)
			if err != nil {
				p.t.Fatal(err)
			}
			e.Grant.Edge, e.Edge, e.Newer.Edge = addr(n), addr(n), addr(n)
			if n == 0 {
				e.Edge = tunnel.EdgeAddr{}
			}
		case "retries":
			n, err := strconv.Atoi(value)
			if err != nil {
				p.t.Fatal(err)
			}
			e.Retries = n
		case "wait":
			e.Grant.Wait = p.duration(value)
		case "delay":
			e.Delay = p.duration(value)
		case "after":
			e.RetryAfter = p.duration(value)
		case "state":
			e.Newer.Status.State = State(value)
		case "reason":
			e.Newer.Status.Reason = tunnel.Reason(value)
		case "gone":
			e.Newer.Live = false
		case "alone":
			e.StoreDown = true
		default:
			p.t.Fatalf("unknown word %q", w)
		}
	}
	return e
}
