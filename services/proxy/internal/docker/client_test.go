package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/docker/label"
)

// recorded is a list as an engine 20.10 sends it, shortened.
const recorded = `[{"Id":"aaaabbbbccccdddd","Names":["/other/alias","/shop-web-1"],"Image":"shop","ImageID":"sha256:1","Command":"/web",
"Created":1700000000,"Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":32768,"Type":"tcp"},{"PrivatePort":53,"Type":"udp"}],
"Labels":{"com.docker.compose.project":"shop","culvert.hostname":"a.example.com","maintainer":"ann"},"State":"running",
"Status":"Up 2 minutes (healthy)","HostConfig":{"NetworkMode":"shop_front"},
"NetworkSettings":{"Networks":{"shop_front":{"IPAMConfig":null,"Gateway":"172.18.0.1","IPAddress":"172.18.0.2","GlobalIPv6Address":""}}},
"Mounts":[]},
{"Id":"eeeeffff0000111122","Names":[],"Created":1700000001,"Labels":null,"State":"running","Status":"Up 1 second (health: starting)",
"HostConfig":{"NetworkMode":"host"},"NetworkSettings":{"Networks":{"host":{"IPAddress":""},"null":null}}}]`

// serve starts an engine on a Unix socket.
func serve(t *testing.T, handler http.HandlerFunc) *engine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}} //nolint:gosec // a test
	server.Start()
	t.Cleanup(server.Close)
	e, err := newEngine(Config{Endpoint: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	return e
}

func TestList(t *testing.T) {
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/containers/json" || r.Method != http.MethodGet {
			t.Errorf("request %s %s", r.Method, r.URL)
		}
		_, _ = io.WriteString(w, recorded)
	})
	got, err := e.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []label.Container{
		{
			ID: "aaaabbbbccccdddd", Name: "shop-web-1", Created: 1700000000, State: label.Serving, Mode: "shop_front",
			Labels:   map[string]string{"com.docker.compose.project": "shop", "culvert.hostname": "a.example.com"},
			Networks: []label.Network{{Name: "shop_front", Addr: netip.MustParseAddr("172.18.0.2")}},
			Ports:    []label.Port{{Private: 80, Public: 32768, HostIP: netip.MustParseAddr("0.0.0.0")}},
		},
		{
			ID: "eeeeffff0000111122", Name: "eeeeffff0000", Created: 1700000001, State: label.Starting, Mode: "host", Labels: map[string]string{},
			Networks: []label.Network{{Name: "host"}},
		},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.AllowUnexported(label.Container{})); d != "" {
		t.Error(d)
	}
}

func TestListFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		err    string
	}{
		"refused":      {http.StatusForbidden, "no", "the engine refuses /containers/json: 403 Forbidden: \"no\""},
		"no list":      {http.StatusOK, `{"message":"x"}`, "the response is no list"},
		"no JSON":      {http.StatusOK, "<html>", "the response is no list"},
		"broken off":   {http.StatusOK, `[{"Id":"a"}`, "broken off"},
		"within one":   {http.StatusOK, `[{"Id":"a`, "broken off"},
		"another type": {http.StatusOK, `[{"Created":"yesterday"}]`, "Created"},
		"too many":     {http.StatusOK, "[" + strings.Repeat("{},", maxContainers) + "{}]", "more than 10000"},
		"elsewhere":    {http.StatusFound, "", "302 Found"},
	} {
		t.Run(name, func(t *testing.T) {
			e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://192.0.2.1/")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			if _, err := e.list(t.Context()); err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
}

// TestListIsBounded sends a list without an end.
func TestListIsBounded(t *testing.T) {
	piece := strings.Repeat("x", 1<<20)
	sent := 0
	e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, err := io.WriteString(w, `[{"Id":"`)
		for ; err == nil; sent++ {
			_, err = io.WriteString(w, piece)
		}
	})
	if _, err := e.list(t.Context()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
}

func TestWatch(t *testing.T) {
	events, gone := make(chan string), make(chan struct{})
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Query().Get("filters"), "health_status") || r.URL.Path != "/events" {
			t.Errorf("request %s", r.URL)
		}
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		for text := range events {
			_, _ = fmt.Fprintln(w, text)
			w.(http.Flusher).Flush()
		}
		close(gone)
	})
	opened, changed := make(chan struct{}), make(chan struct{}, 10)
	ended := make(chan error)
	go func() {
		ended <- e.watch(context.WithoutCancel(t.Context()), func() { close(opened) }, func() { changed <- struct{}{} })
	}()
	<-opened // before any event
	events <- `{"Type":"container","Action":"start"}`
	<-changed
	events <- strings.Repeat("no JSON", 3)
	<-changed
	close(events)
	<-gone
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("watch ended with %v, want EOF", err)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, want := range map[string]string{
		"unix:///var/run/docker.sock":  "http://docker",
		"tcp://127.0.0.1:2375":         "http://127.0.0.1:2375",
		"http://proxy:2375/":           "http://proxy:2375",
		"https://proxy:2376":           "https://proxy:2376",
		"unix://docker.sock":           "",
		"/var/run/docker.sock":         "",
		"ssh://host":                   "",
		"tcp://":                       "",
		"tcp://user:secret@proxy:2375": "",
		"tcp://proxy:2375/path":        "",
		"tcp://proxy:2375%zz":          "",
	} {
		e, err := newEngine(Config{Endpoint: endpoint})
		if (err == nil) != (want != "") || err == nil && e.base != want {
			t.Errorf("%s: %+v, %v, want %q", endpoint, e, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error has the password: %v", endpoint, err)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Default()
	good.Hostnames = []string{"example.com", "*.example.com"}
	bad := Config{Endpoint: "x", Hostnames: []string{"*", "a*.b", "http://a"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	good.Endpoint, good.HostAddress = "unix:///var/run/docker.sock", "::1"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	err := bad.Validate()
	for _, text := range []string{"docker: endpoint: ", "host_address: ", "hostnames: 0: ", "hostnames: 1: ", "hostnames: 2: "} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v has no %q", err, text)
		}
	}
}

// FuzzReadList reads any list, and makes routes of what it has.
func FuzzReadList(f *testing.F) {
	f.Add([]byte(recorded))
	f.Add([]byte(`[null,{"Names":[""],"Ports":[{"IP":"::","PrivatePort":1}]}]`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		all, err := readList(strings.NewReader(string(b)))
		if err == nil {
			label.Routes(all, label.Options{HostAddress: "127.0.0.1"})
		}
	})
}
