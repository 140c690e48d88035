package management

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/websock"
)

// Config is the part about management of a proxy's configuration.
type Config struct {
	Hostname    string `yaml:"management_hostname" usage:"host of the management service, whose requests never reach an origin"`
	Diagnostics bool   `yaml:"management_diagnostics" usage:"serve /metrics and the heap and goroutine profiles on the management host"`
	Label       string `yaml:"management_label" usage:"name of this connector on the management host; empty is the name of the host"`
	ServiceIP   string `yaml:"management_service_ip" usage:"host:port whose route tells the own address that the management host shows; nothing is sent"`
}

// Default holds the defaults of Config, which are those of the reference.
func Default() Config {
	return Config{Hostname: management.Host, Diagnostics: true, ServiceIP: "198.41.200.113:80"}
}

// Hosts are the host names of the service.
func (c Config) Hosts() []string { return []string{c.Hostname, management.FedHost} }

// request is a request for the management host.
type request struct {
	*http.Request

	about link.Meta
	key   string
}

// Service is the management service of one proxy.
type Service struct {
	cfg      Config
	log      *slog.Logger
	tap      *telemetry.Tap // nil when the logger has none: then no line is ever sent
	gatherer prometheus.Gatherer
	store    Store // nil without one
	seats    seats
	ends     ends
}

// New makes the service. It listens to the tap of the logger, and shows the metrics of reg when that can be read. store may be nil: then a
// log stream has the lines of this process alone.
func New(cfg Config, log *slog.Logger, reg prometheus.Registerer, store Store) *Service {
	s := &Service{cfg: cfg, log: log, tap: telemetry.TapOf(log), store: store}
	s.gatherer, _ = reg.(prometheus.Gatherer)
	return s
}

// Close ends all log streams, the later ones as well. It does not wait for them.
func (s *Service) Close() { s.ends.close() }

// FlowLoggers gives the loggers for lines about requests and about streams.
func FlowLoggers(log *slog.Logger) (requests, streams *slog.Logger) {
	return telemetry.ForEvent(log, management.HTTP), telemetry.ForEvent(log, management.TCP)
}

// Serve decides what responds to a request: stream for a websocket that may begin, else the handler. about says through which tunnel and
// connector the request came; key is the public key of the edge that signed the token, or "" when the edge names none
// (docs/extensions.md); webSocket says that the request is the handshake of a websocket. An error of stream says that the websocket did
// not end in order.
func (s *Service) Serve(
	r *http.Request, about link.Meta, key string, webSocket bool,
) (h http.Handler, stream func(context.Context, *websock.Messages) error) {
	req := request{Request: r, about: about, key: key}
	claims, err := authorize(req)
	if err != nil {
		return refusal(err), nil
	}
	if r.URL.Path != management.PathLogs || r.Method != http.MethodGet || !webSocket {
		return s.route(req), nil
	}
	if !sameSite(r) {
		return http.HandlerFunc(foreignOrigin), nil
	}
	st := &logStream{service: s, actor: claims.Actor.ID, key: connectorKey{about.Tunnel, about.Connector}}
	return nil, st.run
}

// Why a token is refused. The response has the text.
var (
	errNoToken     = errors.New("missing access_token query parameter")
	errOtherTunnel = errors.New("access_token is for another tunnel")
	errSignature   = errors.New("access_token is not signed by this edge")
)

// authorize checks the token of a request. An edge that names its key has signed the token; for any other edge the token is only read, as
// the reference does: that edge has verified it.
func authorize(r request) (*management.Claims, error) {
	query, _ := url.ParseQuery(r.URL.RawQuery) // what can be read of it counts
	text := query.Get(management.TokenParameter)
	if text == "" {
		return nil, errNoToken
	}
	claims, err := management.ReadToken(text)
	if err != nil {
		return nil, errNoToken // the reference says the same for a token that it cannot read
	}
	if id, err := tunnel.ParseID(claims.Tunnel.ID); err != nil || id != r.about.Tunnel {
		return nil, errOtherTunnel
	}
	if r.key == "" {
		return claims, nil
	}
	key, err := management.ParseKey(r.key)
	if err != nil {
		return nil, errSignature
	}
	if _, err := management.CheckSignature(text, key); err != nil {
		return nil, errSignature
	}
	return claims, nil
}

// hostName is what the service calls this connector.
func (s *Service) hostName() string {
	if s.cfg.Label != "" {
		return "custom:" + s.cfg.Label
	}
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// ownIPTimeout bounds the look-up of a service address that is a name.
const ownIPTimeout = time.Second

// ownIP is the local address of the route to the service address, or "". A UDP socket finds it without a packet.
func (s *Service) ownIP(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, ownIPTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", cmp.Or(s.cfg.ServiceIP, Default().ServiceIP))
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }() // it carried nothing
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return ""
	}
	return host
}
