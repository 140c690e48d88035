package metrics_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/conn"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/metrics"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/relay"
	"github.com/culvert-tunnel/culvert/services/conn-worker/internal/udp"
)

const id = "00000000-0000-0000-0000-000000000000"

// session is a session in memory whose path a test sets.
type session struct {
	*mem.Session
	path transport.Path
}

func (s *session) Path() transport.Path { return s.path }

func expect(t *testing.T, reg *prometheus.Registry, text string) {
	t.Helper()
	var names []string
	for _, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(text), names...); err != nil {
		t.Error(err)
	}
}

// TestPathsGoOnAcrossSessions counts two sessions of one connection index, of which the first has ended.
func TestPathsGoOnAcrossSessions(t *testing.T) {
	m, reg := metrics.New(), prometheus.NewRegistry()
	if err := m.Register(reg, func() []metrics.Place { return nil }); err != nil {
		t.Fatal(err)
	}
	first, _ := mem.Pair(t.Context())
	second, _ := mem.Pair(t.Context())
	a := &session{first, transport.Path{BytesSent: 100, PacketsSent: 3, PacketsLost: 2, MinRTT: time.Second}}
	b := &session{second, transport.Path{
		BytesSent: 10, BytesReceived: 7, PacketsSent: 1, PacketsReceived: 4, PacketsLost: 1, MTU: 1400, CongestionWindow: 5000,
		MinRTT: 10 * time.Millisecond, LatestRTT: 30 * time.Millisecond, SmoothedRTT: 20 * time.Millisecond,
	}}
	slot := tunnel.Slot{Index: 2}
	m.Opened(slot, a)
	m.Opened(slot, b)
	plain, _ := mem.Pair(t.Context()) // measures nothing
	m.Opened(tunnel.Slot{Index: 3}, plain)
	if err := first.CloseWithError(transport.NoError, ""); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "one session open", func() bool {
		return testutil.GatherAndCompare(reg, strings.NewReader(`# HELP culvert_worker_quic_sessions QUIC sessions that have not ended.
# TYPE culvert_worker_quic_sessions gauge
culvert_worker_quic_sessions{conn_index="2",tunnel_id="`+id+`"} 1
`), "culvert_worker_quic_sessions") == nil
	})
	b.path.PacketsLost = 0 // a packet that was taken for lost arrived
	label := `conn_index="2",tunnel_id="` + id + `"`
	expect(t, reg, strings.NewReplacer("LABEL", label, "INDEX", `conn_index="2"`, "ID", `tunnel_id="`+id+`"`).Replace(
		`# HELP culvert_worker_quic_bytes_total Bytes of QUIC packets to and from the edge, without UDP and IP headers.
# TYPE culvert_worker_quic_bytes_total counter
culvert_worker_quic_bytes_total{INDEX,direction="received",ID} 7
culvert_worker_quic_bytes_total{INDEX,direction="sent",ID} 110
# HELP culvert_worker_quic_packets_lost_total QUIC packets to the edge that were taken for lost.
# TYPE culvert_worker_quic_packets_lost_total counter
culvert_worker_quic_packets_lost_total{LABEL} 3
# HELP culvert_worker_quic_rtt_seconds Round-trip time to the edge: the least of the session, the latest and the smoothed one.
# TYPE culvert_worker_quic_rtt_seconds gauge
culvert_worker_quic_rtt_seconds{INDEX,kind="latest",ID} 0.03
culvert_worker_quic_rtt_seconds{INDEX,kind="min",ID} 0.01
culvert_worker_quic_rtt_seconds{INDEX,kind="smoothed",ID} 0.02
# HELP culvert_worker_quic_mtu_bytes Size of the largest packets to the edge.
# TYPE culvert_worker_quic_mtu_bytes gauge
culvert_worker_quic_mtu_bytes{LABEL} 1400
# HELP culvert_worker_quic_sessions_total QUIC sessions whose handshake succeeded.
# TYPE culvert_worker_quic_sessions_total counter
culvert_worker_quic_sessions_total{LABEL} 2
`))
}

// TestPlacesThatWereLeft moves a connection to another place.
func TestPlacesThatWereLeft(t *testing.T) {
	here := []metrics.Place{{Index: 1, Location: "ams01"}, {Index: 2, Location: "ams01"}}
	reg := prometheus.NewRegistry()
	if err := metrics.New().Register(reg, func() []metrics.Place { return here }); err != nil {
		t.Fatal(err)
	}
	head := `# HELP culvert_worker_connections Registered connections to the edge.
# TYPE culvert_worker_connections gauge
culvert_worker_connections 2
# HELP culvert_worker_location Where connections to the edge are registered: 1 for the present place, 0 for an earlier one.
# TYPE culvert_worker_location gauge
`
	row := func(index, place, v string) string {
		return `culvert_worker_location{conn_index="` + index + `",location="` + place + `",tunnel_id="` + id + `"} ` + v + "\n"
	}
	expect(t, reg, head+row("1", "ams01", "1")+row("2", "ams01", "1"))
	here[0].Location = "fra02"
	expect(t, reg, head+row("1", "ams01", "0")+row("1", "fra02", "1")+row("2", "ams01", "1"))
	here[0].Location = "ams01"
	expect(t, reg, head+row("1", "ams01", "1")+row("1", "fra02", "0")+row("2", "ams01", "1"))
}

func TestCallsByResult(t *testing.T) {
	m, reg := metrics.New(), prometheus.NewRegistry()
	if err := m.Register(reg, func() []metrics.Place { return nil }); err != nil {
		t.Fatal(err)
	}
	m.Called(conn.RegisterConnection, time.Second, nil)
	m.Called(conn.RegisterConnection, time.Second, &tunnel.ConnError{Reason: tunnel.ReasonDuplicate})
	m.Called(conn.RegisterConnection, time.Second, &tunnel.ConnError{Reason: tunnel.ReasonRPC, Err: errors.New("time-out")})
	m.Served(relay.RegisterUDPSession, time.Second, rpc.ErrRegisterV3)
	m.Served(relay.UpdateConfiguration, time.Second, remoteconfig.Reject(errors.New("no")))
	m.Told(time.Second, nil)
	m.SessionsChanged(3, udp.V2, 1)
	m.SessionRegistered(3, udp.V3)
	expect(t, reg, `# HELP culvert_worker_calls_total Calls to the edge, by method and result.
# TYPE culvert_worker_calls_total counter
culvert_worker_calls_total{method="register_connection",result="duplicate"} 1
culvert_worker_calls_total{method="register_connection",result="failed"} 1
culvert_worker_calls_total{method="register_connection",result="ok"} 1
culvert_worker_calls_total{method="unregister_udp_session",result="ok"} 1
# HELP culvert_worker_served_calls_total Calls of the edge, by method and result.
# TYPE culvert_worker_served_calls_total counter
culvert_worker_served_calls_total{method="register_udp_session",result="unsupported"} 1
culvert_worker_served_calls_total{method="update_configuration",result="rejected"} 1
# HELP culvert_worker_udp_sessions UDP sessions that the connections of this worker know.
# TYPE culvert_worker_udp_sessions gauge
culvert_worker_udp_sessions{conn_index="3",datagrams="v2"} 1
# HELP culvert_worker_udp_sessions_total UDP sessions that a proxy accepted, by connection and version of datagrams.
# TYPE culvert_worker_udp_sessions_total counter
culvert_worker_udp_sessions_total{conn_index="3",datagrams="v3"} 1
`)
}
