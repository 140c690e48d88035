package flow_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// tlsEvent is a handshake or a request that a TLS origin saw.
type tlsEvent struct {
	SNI  *string  `json:"sni"` // set in a handshake
	ALPN []string `json:"alpn_offered"`

	Body       string      `json:"body"`
	Headers    [][2]string `json:"headers"`
	Host       string      `json:"host"`
	Method     string      `json:"method"`
	Proto      string      `json:"proto"`
	ServerName string      `json:"tls_server_name"`
	URI        string      `json:"uri"`
}

// tlsCase is one case of http_tls.json, stream style.
type tlsCase struct {
	Name          string          `json:"name"`
	Service       string          `json:"service"`
	OriginRequest []string        `json:"originRequest"`
	Requests      []vectorRequest `json:"requests"`
	Stream        struct {
		Saw  []tlsEvent `json:"origin_saw"`
		Back []struct {
			Status string `json:"status"`
			Body   string `json:"body"`
			Error  string `json:"error"`
		} `json:"went_back"`
	} `json:"stream"`
}

// tlsDifferences lists the cases where we differ on purpose, with the row of docs/spec/ingress.md 14.
var tlsDifferences = map[string]struct {
	row   string
	apply func(want []tlsEvent) []tlsEvent
}{
	"matchSNItoHost and two hosts share one pooled connection": {"D14", func(want []tlsEvent) []tlsEvent {
		other := "other.example.com"
		last := want[len(want)-1]
		last.ServerName = other
		return append(want[:len(want)-1], tlsEvent{SNI: &other}, last)
	}},
}

// tlsOrigin is a real HTTPS server that writes down what it sees.
type tlsOrigin struct {
	mu     sync.Mutex
	events []tlsEvent
}

func (o *tlsOrigin) add(e tlsEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
}

func (o *tlsOrigin) all() []tlsEvent {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.events)
}

func (o *tlsOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e := tlsEvent{
		Body: string(body), Host: r.Host, Method: r.Method, Proto: r.Proto,
		ServerName: r.TLS.ServerName, URI: r.RequestURI,
	}
	for name, values := range r.Header {
		for _, v := range values {
			e.Headers = append(e.Headers, [2]string{name, v})
		}
	}
	slices.SortFunc(e.Headers, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	o.add(e)
	w.Header().Set("Trailer", "Grpc-Status")
	w.Header().Set("Content-Type", "application/grpc")
	_, _ = io.WriteString(w, "ok")
	w.Header().Set("Grpc-Status", "0")
}

func (o *tlsOrigin) start(t testing.TB, network string, cert tls.Certificate) string {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "o.sock")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(o)
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{
		Certificates: []tls.Certificate{cert},
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name := h.ServerName
			o.add(tlsEvent{SNI: &name, ALPN: h.SupportedProtos})
			return nil, nil
		},
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return l.Addr().String()
}

func TestTLSVectors(t *testing.T) {
	ca := testkit.NewCA(t)
	caFile := ca.File(t)
	cert := ca.Issue(t, "origin.internal", "app.example.com", "other.example.com")
	used := map[string]bool{}
	for _, c := range load[tlsCase](t, "http_tls.json") {
		t.Run(c.Name, func(t *testing.T) {
			used[c.Name] = true
			o := &tlsOrigin{}
			network := "tcp"
			if strings.HasPrefix(c.Service, "unix") {
				network = "unix"
			}
			addr := o.start(t, network, cert)
			var settings []string
			for _, s := range c.OriginRequest {
				settings = append(settings, strings.ReplaceAll(s, ": CA", ": "+caFile))
			}
			h := serve(t, rules(t, strings.NewReplacer("ORIGIN", addr, "SOCKET", addr).Replace(c.Service), settings...), nil)
			for i, r := range c.Requests {
				a := do(t, h, r.wire(), r.Body)
				want := c.Stream.Back[i]
				if want.Error != "" {
					if a.status != "502" || !strings.HasSuffix(a.err, "tls: failed to verify certificate") {
						t.Errorf("response %d: %+v, want an error about the certificate", i, a)
					}
				} else if a.status != want.Status || a.body != want.Body || a.end != nil {
					t.Errorf("response %d: %+v, want %+v", i, a, want)
				}
			}
			want := c.Stream.Saw
			if d, ok := tlsDifferences[c.Name]; ok {
				want = d.apply(want)
				t.Logf("differs on purpose: %s", d.row)
			}
			got := o.all()
			if strings.HasPrefix(c.Name, "http2Origin with disableChunkedEncoding") {
				// docs/spec/ingress.md D6: the body has a length.
				for i := range got {
					got[i].Headers = slices.DeleteFunc(got[i].Headers, func(h [2]string) bool { return h[0] == "Content-Length" })
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("origin saw (-want +got):\n%s", diff)
			}
		})
	}
	for name := range tlsDifferences {
		if !used[name] {
			t.Errorf("difference for a case that does not exist: %s", name)
		}
	}
}
