package udp

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
	"github.com/culvert-tunnel/culvert/pkg/wire/icmp"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

func TestPing(t *testing.T) {
	t.Parallel()
	router := map[bool]netip.Addr{false: netip.MustParseAddr("10.9.9.9"), true: netip.MustParseAddr("2001:db8::9")}
	for _, features := range [][]string{ours, stockV2} {
		for _, dst := range []string{"10.0.0.1", "2001:db8::1"} {
			for _, kind := range []string{EchoReply, TimeExceeded, Unreachable} {
				l := newLab(t, Default())
				f := l.connect(registry.NewTable(), 0, 1, features)
				go f.pong(router[netip.MustParseAddr(dst).Is6()], kind, len(features) == 3)
				got, err := l.flows.Ping(t.Context(), app, PingRequest{Destination: netip.MustParseAddr(dst), TTL: 7, Size: 100})
				want := netip.MustParseAddr(dst)
				if kind != EchoReply {
					want = router[want.Is6()]
				}
				if err != nil || got.Kind != kind || got.From != want || kind == EchoReply && got.Size != 100 {
					t.Errorf("%s %s: Ping = %+v, %v", dst, kind, got, err)
				}
			}
		}
	}
}

// pong replies to one echo request.
func (f *far) pong(router netip.Addr, kind string, v3 bool) {
	b, err := f.sess.ReceiveDatagram(f.sess.Context())
	if err != nil {
		return
	}
	raw := b[1:]
	if !v3 {
		raw = b[:len(b)-1]
	}
	p, err := icmp.Parse(raw)
	if err != nil || p.TTL != 7 || !p.IsEchoRequest() {
		f.t.Errorf("request = %+v, %v", p, err)
		return
	}
	var out []byte
	switch kind {
	case EchoReply:
		e, _ := p.Echo()
		out, err = e.Append(nil, p.Dst, p.Src, icmp.ReplyTTL, icmp.Reply)
	case TimeExceeded:
		out, err = icmp.AppendError(nil, router, p.Src, icmp.TimeExceeded(p.Is6()), p.Raw)
	default:
		fault := icmp.Fault{Type: icmp.Unreachable4, Code: 1}
		if p.Is6() {
			fault.Type = icmp.Unreachable6
		}
		out, err = icmp.AppendError(nil, router, p.Src, fault, p.Raw)
	}
	if err == nil && v3 {
		out, err = datagram.AppendICMP(nil, out)
	} else if err == nil {
		out, err = (&datagram.V2{Type: datagram.V2IP, Data: out}).Append(nil)
	}
	if err != nil {
		f.t.Error(err)
		return
	}
	_ = f.sess.SendDatagram(out)
}

func TestPingFails(t *testing.T) {
	t.Parallel()
	l := newLab(t, Default())
	dst := netip.MustParseAddr("10.0.0.1")
	if _, err := l.flows.Ping(t.Context(), app, PingRequest{Destination: dst}); !errors.Is(err, ErrNoConnection) {
		t.Errorf("without a connection: %v", err)
	}
	l.connect(registry.NewTable(), 0, 1, ours)
	if _, err := l.flows.Ping(t.Context(), app, PingRequest{Destination: dst, Timeout: time.Millisecond}); !errors.Is(err, ErrSilent) {
		t.Errorf("without a reply: %v", err)
	}
	for _, r := range []PingRequest{{}, {Destination: dst, Size: -1}, {Destination: dst, Size: 1253}} {
		if _, err := l.flows.Ping(t.Context(), app, r); !errors.Is(err, ErrPing) {
			t.Errorf("Ping(%+v) = %v", r, err)
		}
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte{3, 0}, true)
	f.Add([]byte{2, 0x45}, true)
	f.Add(append([]byte{1}, make([]byte, 20)...), true)
	e := icmp.Echo{ID: 1, Seq: 2}
	reply, err := e.Append(nil, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr(pingSource4), 255, icmp.Reply)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte{2}, reply...), true)
	f.Add(append(reply, 1), false)
	f.Fuzz(func(t *testing.T, b []byte, v3 bool) {
		l := newLab(t, Default())
		c := l.connect(registry.NewTable(), 0, 1, ours)
		p := &peer{owner: l.flows, conn: c.conn, v3: v3}
		if v3 {
			l.flows.receiveV3(p, b)
		} else {
			l.flows.receiveV2(p, b)
		}
	})
}
