package icmp_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	codec "github.com/culvert-tunnel/culvert/pkg/wire/icmp"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/icmp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// router is a Router with its log and figures.
type router struct {
	*icmp.Router
	reg *prometheus.Registry
	log bytes.Buffer
}

func newRouter(t *testing.T, cfg icmp.Config) *router {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &router{reg: prometheus.NewRegistry()}
	r.Router = icmp.New(cfg, func(netip.Addr) error { return nil }, slog.New(slog.NewTextHandler(&r.log, nil)), r.reg)
	t.Cleanup(r.Close)
	return r
}

func withSources(v4, v6 string) icmp.Config {
	cfg := icmp.Default()
	cfg.SourceV4, cfg.SourceV6 = v4, v6
	return cfg
}

// figure sums a metric; label picks one series of a vector.
func (r *router) figure(t *testing.T, name, label string) (n int) {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "culvert_proxy_icmp_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" || m.GetLabel()[0].GetValue() == label {
				n += int(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			}
		}
	}
	return n
}

func request(t *testing.T, from, to string, ttl uint8, echo codec.Echo) []byte {
	t.Helper()
	b, err := echo.Append(nil, netip.MustParseAddr(from), netip.MustParseAddr(to), ttl, codec.Request)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t *testing.T, b []byte) codec.Packet {
	t.Helper()
	p, err := codec.Parse(b)
	if err != nil || !p.Valid() {
		t.Fatalf("response %x: %v, valid %v", b, err, p.Valid())
	}
	return p
}

func TestTimeToLiveEndsHere(t *testing.T) {
	r := newRouter(t, withSources("10.0.0.9", "fd00::9"))
	for _, c := range []struct{ from, to, router string }{
		{"192.0.2.1", "198.51.100.7", "10.0.0.9"}, {"2001:db8::1", "2001:db8:1::2", "fd00::9"},
	} {
		for ttl := range uint8(2) {
			in := request(t, c.from, c.to, ttl, codec.Echo{ID: 3, Seq: 4, Data: []byte("data")})
			var got []byte
			r.Ping(in, func(p []byte) bool { got = bytes.Clone(p); return true })
			p := parse(t, got)
			if p.Src.String() != c.router || p.Dst.String() != c.from || p.TTL != 255 || p.Fault() != codec.TimeExceeded(p.Is6()) {
				t.Errorf("%s with TTL %d: %+v", c.to, ttl, p)
			}
			if q, err := p.Quote(); err != nil || !bytes.Equal(q.Raw, in) {
				t.Errorf("%s with TTL %d: quote %x, %v, want %x", c.to, ttl, q.Raw, err, in)
			}
		}
	}
	if n := r.figure(t, "errors_sent_total", ""); n != 4 {
		t.Errorf("%d errors sent, want 4", n)
	}
}

func TestPingsToDeniedAddressesAreDropped(t *testing.T) {
	denied := netip.MustParseAddr("198.51.100.7")
	r := &router{reg: prometheus.NewRegistry()}
	r.Router = icmp.New(icmp.Default(), func(dst netip.Addr) error {
		if dst == denied {
			return errors.New("denied")
		}
		return nil
	}, slog.New(slog.NewTextHandler(&r.log, nil)), r.reg)
	t.Cleanup(r.Close)
	r.Ping(request(t, "192.0.2.1", denied.String(), 64, codec.Echo{ID: 1}), func([]byte) bool { return true })
	if n := r.figure(t, "dropped_packets_total", "write_denied"); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
}

func TestWhatIsNoPingIsDropped(t *testing.T) {
	r := newRouter(t, withSources("10.0.0.9", "fd00::9"))
	echo := request(t, "192.0.2.1", "198.51.100.7", 64, codec.Echo{})
	reply := bytes.Clone(echo)
	reply[20] = codec.EchoReply4
	udp := bytes.Clone(echo)
	udp[9] = 17
	about, err := codec.AppendError(nil, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7"),
		codec.TimeExceeded(false), echo)
	if err != nil {
		t.Fatal(err)
	}
	about[8] = 1 // no error is sent about an error
	inputs := [][]byte{nil, {0x45}, {0x75, 0}, reply, udp, about, echo[:27]}
	for _, in := range inputs {
		r.Ping(in, func(p []byte) bool { t.Errorf("%x was answered by %x", in, p); return true })
	}
	if n := r.figure(t, "dropped_packets_total", "write_failed"); n != len(inputs) {
		t.Errorf("%d dropped, want %d", n, len(inputs))
	}
}

func TestResponsesThatNobodyWantsAreCounted(t *testing.T) {
	r := newRouter(t, withSources("10.0.0.9", "fd00::9"))
	r.Ping(request(t, "192.0.2.1", "198.51.100.7", 1, codec.Echo{}), func([]byte) bool { return false })
	if n := r.figure(t, "dropped_packets_total", "write_flow_unknown"); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
}

func TestSourcesAreGuessed(t *testing.T) {
	r := newRouter(t, icmp.Default())
	v4, v6 := r.Sources()
	if !v4.Is4() || !v6.Is6() || v6.Zone() != "" {
		t.Errorf("sources are %s and %s", v4, v6)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct{ v4, v6, path string }{
		{"", "", ""},
		{"192.0.2.1", "2001:db8::1", ""},
		{"2001:db8::1", "", "source_v4"},
		{"host", "", "source_v4"},
		{"", "192.0.2.1", "source_v6"},
		{"", "::ffff:192.0.2.1", "source_v6"},
	} {
		err := withSources(c.v4, c.v6).Validate()
		if (err == nil) != (c.path == "") || err != nil && !strings.Contains(err.Error(), c.path) {
			t.Errorf("%q and %q: %v, want %q", c.v4, c.v6, err, c.path)
		}
	}
	if err := (icmp.Config{}).Validate(); err == nil {
		t.Error("max_flows of 0 is accepted")
	}
}

func TestForbiddenIsSaidOnce(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ping_group_range")
	if err != nil || strings.Join(strings.Fields(string(text)), " ") != "1 0" {
		t.Skipf("ping sockets are not forbidden here: %q, %v", text, err)
	}
	for source, level := range map[string]string{"": "INFO", "192.0.2.1": "WARN"} {
		r := newRouter(t, withSources(source, ""))
		for range 3 {
			r.Ping(request(t, "192.0.2.1", "127.0.0.1", 64, codec.Echo{}), func([]byte) bool { return true })
		}
		got := r.log.String()
		for _, want := range []string{"level=" + level, `remedy="sysctl -w net.ipv4.ping_group_range=\"`} {
			if !strings.Contains(got, want) {
				t.Errorf("source %q: log does not hold %s:\n%s", source, want, got)
			}
		}
		if n := strings.Count(got, "\n"); n != 1 {
			t.Errorf("source %q: %d lines, want 1:\n%s", source, n, got)
		}
		if n := r.figure(t, "dropped_packets_total", "write_failed"); n != 3 {
			t.Errorf("%d dropped, want 3", n)
		}
	}
}
