package zone_test

import (
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// TestResponsesOverUDPAreLimited: a network that sends many queries gets truncated responses over UDP, and complete ones over TCP.
func TestResponsesOverUDPAreLimited(t *testing.T) {
	t.Parallel()
	addr := start(t, content())
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	packed, err := new(dns.Msg).SetQuestion("region1.edge.test.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, dns.MaxMsgSize)
	testkit.Eventually(t, "truncated response without records", func() bool {
		for range 100 {
			if _, err := c.Write(packed); err != nil {
				t.Fatal(err)
			}
		}
		for {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			n, err := c.Read(buf)
			if err != nil {
				return false
			}
			var r dns.Msg
			if err := r.Unpack(buf[:n]); err != nil {
				t.Fatal(err)
			}
			if r.Truncated {
				return len(r.Answer) == 0
			}
		}
	})
	if r, got := query(t, "tcp", addr, "region1.edge.test.", dns.TypeA); r.Truncated || len(got) != 2 {
		t.Errorf("over TCP: truncated %v, records %q", r.Truncated, got)
	}
}
