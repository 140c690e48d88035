//go:build system

package system_test

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// plainOrigin responds to every request with a short text.
func plainOrigin() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "a short text\n")
	})
}

// TestH2Spec runs the conformance suite of HTTP/2 against the edge's public side and against bare net/http, with and
// without TLS. The edge must pass every case that net/http passes.
func TestH2Spec(t *testing.T) {
	spec := harness.Binary(t, "h2spec")
	origin := httptest.NewServer(plainOrigin())
	t.Cleanup(origin.Close)
	d := deployConfig(t, oneProcess, "quic", fmt.Sprintf("ingress:\n  - service: %s\n", origin.URL))
	bare, bareTLS := bareServers(t)
	for _, c := range []struct{ name, ours, bare string }{{"h2c", d.edge.URL, bare}, {"tls", d.tlsURL, bareTLS}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			theirs := make(chan map[string]string, 1)
			go func() {
				defer close(theirs) // also when it fails
				theirs <- h2spec(t, spec, c.bare, quickly)
			}()
			ours, bare := h2spec(t, spec, c.ours, quickly), <-theirs
			if len(ours) < 90 || len(ours) != len(bare) {
				t.Fatalf("%d cases ran on the edge and %d on net/http", len(ours), len(bare))
			}
			t.Logf("%d cases; the edge fails %q", len(ours), failing(ours))
			t.Logf("%d cases; net/http fails %q", len(bare), failing(bare))
			for _, id := range failing(ours) {
				if bare[id] != "" {
					continue
				}
				section, _, _ := strings.Cut(id, " ") // once more: the suite bounds its waits, and the machine may be busy
				if text := h2spec(t, spec, c.ours, patiently, section)[id]; text != "" {
					t.Errorf("%s fails on the edge and not on net/http: %s", id, text)
				}
			}
		})
	}
}

// The seconds that the suite waits for a response.
const (
	quickly   = "2"
	patiently = "10"
)

// bareServers serve with net/http alone.
func bareServers(t *testing.T) (plain, secure string) {
	t.Helper()
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	a := httptest.NewUnstartedServer(plainOrigin())
	a.Config.Protocols = &p
	a.Start()
	t.Cleanup(a.Close)
	b := httptest.NewUnstartedServer(plainOrigin())
	b.EnableHTTP2 = true
	b.StartTLS()
	t.Cleanup(b.Close)
	return a.URL, b.URL
}

func failing(cases map[string]string) []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(cases)) {
		if cases[id] != "" {
			out = append(out, id)
		}
	}
	return out
}

// h2spec returns the failure of each case by section and title, "" for a case that passed.
func h2spec(t *testing.T, program, base, seconds string, sections ...string) map[string]string {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	args := append([]string{"--host", u.Hostname(), "--port", u.Port(), "--timeout", seconds, "--junit-report", report}, sections...)
	if u.Scheme == "https" {
		args = append(args, "--tls", "--insecure")
	}
	printed, runErr := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	raw, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("h2spec %v: %v, %v\n%s", args, runErr, err, harness.Tail(string(printed), 3000))
	}
	var doc struct {
		Suites []struct {
			Cases []struct {
				Package string `xml:"package,attr"`
				Class   string `xml:"classname,attr"`
				Failure string `xml:"failure"`
				Error   string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(raw, &doc); err != nil {
		t.Fatalf("h2spec report: %v", err)
	}
	out := make(map[string]string)
	for _, s := range doc.Suites {
		for _, c := range s.Cases {
			out[c.Package+" "+c.Class] = strings.TrimSpace(c.Failure + c.Error)
		}
	}
	return out
}

// TestExtendedConnectOfTheBinaries checks that the binaries offer WebSocket over HTTP/2, which depends on the order in
// which their packages are initialised.
func TestExtendedConnectOfTheBinaries(t *testing.T) {
	_, public := up(t)
	for name, base := range map[string]string{"edge": harness.StartEdge(t).URL, "culvert": public} {
		testkit.Retry(t, name, patience, func() error {
			on, err := extendedConnect(strings.TrimPrefix(base, "http://"))
			if err == nil && !on {
				t.Fatalf("%s does not offer extended CONNECT", name)
			}
			return err
		})
	}
}

func extendedConnect(addr string) (bool, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return false, err
	}
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		return false, err
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return false, err
		}
		if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
			v, _ := s.Value(http2.SettingEnableConnectProtocol)
			return v == 1, nil
		}
	}
}
