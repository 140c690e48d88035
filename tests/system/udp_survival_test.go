//go:build system

package system_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// udpFlow is a visitor of a public UDP port that sends numbered packets and counts which ones come back.
type udpFlow struct {
	conn net.Conn

	mu     sync.Mutex // guards the fields below
	sent   int
	echoes map[string]time.Time
	sentAt map[string]time.Time
}

// receive records every echo until the socket is closed.
func (f *udpFlow) receive() {
	buf := make([]byte, 2048)
	for {
		n, err := f.conn.Read(buf)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.echoes[string(buf[:n])] = time.Now()
		f.mu.Unlock()
	}
}

func (f *udpFlow) send(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	f.sent++
	name := fmt.Sprintf("packet %d", f.sent)
	f.sentAt[name] = time.Now()
	f.mu.Unlock()
	if _, err := f.conn.Write([]byte(name)); err != nil {
		t.Error(err)
	}
}

// lost counts the packets without a response that were sent before the time at, and returns how long after it the others up to
// the time end were sent.
func (f *udpFlow) lost(at, end time.Time) (before int, after []time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, sent := range f.sentAt {
		if _, ok := f.echoes[name]; ok || sent.After(end) {
			continue
		}
		if sent.Before(at) {
			before++
		} else {
			after = append(after, sent.Sub(at).Round(time.Millisecond))
		}
	}
	slices.Sort(after)
	return before, after
}

// echoedSince reports whether the echo of a packet sent after the given time has come.
func (f *udpFlow) echoedSince(at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, sent := range f.sentAt {
		if _, ok := f.echoes[name]; ok && sent.After(at) {
			return true
		}
	}
	return false
}

// TestUDPSessionOutlivesItsWorker kills a worker while packets flow: every session continues from the same source port at
// the origin, and packets sent before and after the move get their responses.
func TestUDPSessionOutlivesItsWorker(t *testing.T) {
	d := deploy(t, split, "quic", startOrigins(t))
	addr := d.publish(t, "udp", "--to", d.origins.echo)
	var flows []*udpFlow
	ports := map[*udpFlow]string{}
	for range 8 {
		c, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		f := &udpFlow{conn: c, echoes: map[string]time.Time{}, sentAt: map[string]time.Time{}}
		ports[f] = string(exchange(t, c, []byte("who")))
		flows = append(flows, f)
	}
	var readers sync.WaitGroup
	for _, f := range flows {
		if err := f.conn.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		readers.Go(f.receive)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	pace := func(n int) {
		for range n {
			<-tick.C
			for _, f := range flows {
				f.send(t)
			}
		}
	}
	pace(50)
	killed := time.Now()
	if err := d.procs["conn-worker"][0].Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.procs["conn-worker"][0].Exited
	for waited := time.Now(); time.Since(waited) < 12*time.Second; { // the slots of the dead worker move, too
		pace(1)
	}
	echoed := func(what string) (asked time.Time) {
		asked = time.Now()
		testkit.Retry(t, what, patience, func() error {
			pace(1)
			for i, f := range flows {
				if !f.echoedSince(asked) {
					return fmt.Errorf("flow %d has no echo", i)
				}
			}
			return nil
		})
		return asked
	}
	echoed("all flows have echoes again")
	last := echoed("the last echoes")
	for i, f := range flows {
		before, after := f.lost(killed, last)
		t.Logf("flow %d: %d packets, lost %d from before the kill, %d from after it: %v", i, f.sent, before, len(after), after)
		if before > 3 {
			t.Errorf("flow %d lost %d packets from before the kill", i, before)
		}
		if len(after) > 25 { // the silence of more than a second takes twice as many with it if nothing is sent again
			t.Errorf("flow %d lost %d packets from after the kill", i, len(after))
		}
		_ = f.conn.SetReadDeadline(time.Now()) // ends the reader
	}
	readers.Wait()
	for i, f := range flows {
		got := string(exchange(t, f.conn, []byte("who")))
		for strings.HasPrefix(got, "packet ") { // an echo that came after its reader had gone
			got = string(exchange(t, f.conn, []byte("who")))
		}
		if got != ports[f] {
			t.Errorf("flow %d: the origin sees %s, before the kill %s", i, got, ports[f])
		}
		_ = f.conn.Close()
	}
}
