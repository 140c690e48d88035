package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

// addTunnel creates another tunnel, which workers that start later serve.
func (s *system) addTunnel(name string) {
	s.t.Helper()
	made, err := s.admin.CreateTunnel(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	cred, err := credential.ParseToken(made.Token)
	if err != nil {
		s.t.Fatal(err)
	}
	s.others = append(s.others, cred)
}

// route sends a host to a tunnel.
func (s *system) route(host, tunnelName string) {
	s.t.Helper()
	if _, err := s.admin.AddRoute(s.t.Context(), host, tunnelName); err != nil {
		s.t.Fatal(err)
	}
}

// get sends a visitor's request and returns the status and the header Culvert-Error.
func (s *system) get(host string) (status int, code string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.edge.PublicURL(), http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close() // only read
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Culvert-Error")
}

// configure pushes rules that respond with a status, and returns the state of each connection after its response.
func (s *system) configure(tunnelName string, status int) []adminclient.ConfigurationState {
	s.t.Helper()
	return s.push(tunnelName, fmt.Sprintf(`{"ingress":[{"service":"http_status:%d"}]}`, status))
}

// push pushes a document, and returns the state of each connection after its response.
func (s *system) push(tunnelName, doc string) []adminclient.ConfigurationState {
	s.t.Helper()
	set, err := s.admin.SetConfiguration(s.t.Context(), tunnelName, json.RawMessage(doc))
	if err != nil {
		s.t.Fatal(err)
	}
	var now adminclient.Configuration
	s.eventually("every connection of "+tunnelName+" has responded to the push", func() bool {
		if now, err = s.admin.Configuration(s.t.Context(), tunnelName); err != nil || len(now.Connections) == 0 {
			return false
		}
		for _, c := range now.Connections {
			if c.Pushed < set.Version {
				return false
			}
		}
		return true
	})
	return now.Connections
}

// TestTwoTunnelsKeepTheirRulesApart has two tunnels on one worker and one proxy. Each tunnel's requests are served by its own rules,
// and by the local ones before the edge has pushed any.
func TestTwoTunnelsKeepTheirRulesApart(t *testing.T) {
	s := newSystem(t, "")
	s.features = nil
	s.addTunnel("second")
	s.route("one.test", "demo")
	s.route("two.test", "second")
	s.supervisor()
	s.proxy("proxy-1")
	s.workerOf("worker-1")
	s.eventually("both tunnels have four connections", func() bool {
		list, err := s.admin.ListConnections(t.Context())
		active := map[string]int{}
		for _, c := range list {
			if c.State == "active" {
				active[c.TunnelID.String()]++
			}
		}
		return err == nil && active[s.cred.TunnelID.String()] == 4 && active[s.others[0].TunnelID.String()] == 4
	})
	for _, host := range []string{"one.test", "two.test"} { // the local rules of the proxy: there are none
		if status, code := s.get(host); status != http.StatusServiceUnavailable || code != "" {
			t.Errorf("%s before any push: status %d, code %q", host, status, code)
		}
	}

	applied := func(tunnelName string, status int) {
		t.Helper()
		for _, c := range s.configure(tunnelName, status) {
			if c.Error != "" || c.Applied != c.Pushed {
				t.Errorf("%s, connection %d: version %d of %d, error %q", tunnelName, c.ConnIndex, c.Applied, c.Pushed, c.Error)
			}
		}
	}
	served := func(when string, one, two int) {
		t.Helper()
		for range 8 { // over several connections
			for host, want := range map[string]int{"one.test": one, "two.test": two} {
				if status, code := s.get(host); status != want || code != "" {
					t.Errorf("%s, %s: status %d, code %q, want %d", when, host, status, code, want)
				}
			}
		}
	}
	applied("demo", http.StatusTeapot)
	served("one tunnel has rules of its own", http.StatusTeapot, http.StatusServiceUnavailable)
	applied("second", http.StatusGone)
	served("both have rules of their own", http.StatusTeapot, http.StatusGone)
	applied("demo", http.StatusPaymentRequired)
	served("one has a further version", http.StatusPaymentRequired, http.StatusGone)
}
