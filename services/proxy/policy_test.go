package proxy_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy"
)

// errorOf sends the head of a request and gives the error and the status of the response.
func errorOf(t *testing.T, c link.Carrier, r stream.Request) (text, status string) {
	t.Helper()
	head, err := r.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newEdgeStream(t.Context())
	if err := c.Carry(t.Context(), link.Flow{Stream: s, First: head, EOF: true}); err != nil {
		t.Fatalf("Carry: %v", err)
	}
	var resp stream.Response
	if _, err := stream.ParseResponse(s.response, &resp); err != nil {
		t.Fatal(err)
	}
	for _, p := range resp.Metadata {
		if p.Key == stream.KeyStatus {
			status = p.Val
		}
	}
	return resp.Error, status
}

func httpRequest(host string) stream.Request {
	return stream.Request{Dest: "https://" + host + "/", Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: "GET"}, {Key: stream.KeyHost, Val: host},
	}}
}

// TestNoPushWidensTheLocalPolicy pushes rules that lead where the local policy does not allow to go.
func TestNoPushWidensTheLocalPolicy(t *testing.T) {
	secret := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("admin")) })
	tcp := httptest.NewServer(secret)
	t.Cleanup(tcp.Close)
	_, port, err := net.SplitHostPort(tcp.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	admin := &http.Server{Handler: secret, ReadHeaderTimeout: testkit.Patience}
	go func() { _ = admin.Serve(l) }()
	t.Cleanup(func() { _ = admin.Close() })

	cfg := proxy.Default()
	cfg.Opener.Policy.DenyNetworks = []string{"127.0.0.0/8", "::1/128"}
	cfg.Opener.Policy.AllowUnix = []string{"/run/app/"}
	cfg.Opener.Policy.AllowFiles = []string{"none"}
	r := run(t, cfg, proxy.Deps{Rules: helloRules(t)})
	defer r.stop()
	direct := link.NewDirect(r.svc.Handler())
	document := fmt.Sprintf(`{"ingress":[{"hostname":"ip.test","service":"http://127.0.0.1:%[1]s"},
		{"hostname":"name.test","service":"http://localhost:%[1]s"},{"hostname":"tcp.test","service":"tcp://127.0.0.1:%[1]s"},
		{"hostname":"unix.test","service":"unix:%[2]s"},{"hostname":"fine.test","service":"hello_world"},{"service":"http_status:404"}],
		"warp-routing":{"enabled":true}}`, port, socket)
	if version, err := r.svc.Apply(t.Context(), remoteconfig.Update{Version: 1, Document: []byte(document)}); err != nil || version != 1 {
		t.Fatalf("Apply: %d, %v", version, err)
	}
	for _, host := range []string{"ip.test", "name.test", "unix.test"} {
		if text, status := errorOf(t, direct, httpRequest(host)); status != "403" || !strings.Contains(text, "denied by the local policy") {
			t.Errorf("%s: status %s, error %q", host, status, text)
		}
	}
	service := httpRequest("tcp.test")
	service.Type = stream.WebSocket
	if text, status := errorOf(t, direct, service); status != "403" || !strings.Contains(text, "denied by the local policy") {
		t.Errorf("stream service: status %s, error %q", status, text)
	}
	if text, status := errorOf(t, direct, httpRequest("fine.test")); status != "200" || text != "" {
		t.Errorf("another rule of the same document: status %s, error %q", status, text)
	}
	dest := net.JoinHostPort("127.0.0.1", port)
	if text, _ := errorOf(t, direct, stream.Request{Dest: dest, Type: stream.TCP}); !strings.Contains(text, "denied by the local policy") {
		t.Errorf("private network: error %q", text)
	}
	ca := `{"ingress":[{"service":"https://fine.test","originRequest":{"caPool":"/etc/hostname"}}]}`
	_, err = r.svc.Apply(t.Context(), remoteconfig.Update{Version: 2, Document: []byte(ca)})
	var rejected *remoteconfig.RejectedError
	if !errors.As(err, &rejected) || !strings.Contains(err.Error(), "denied by the local policy") {
		t.Errorf("a document that names a denied file: %v", err)
	}
}

// TestNoPolicyAllowsEverything is the same without a policy: the refusals above have no other reason.
func TestNoPolicyAllowsEverything(t *testing.T) {
	r := run(t, proxy.Default(), proxy.Deps{Rules: helloRules(t)})
	defer r.stop()
	direct := link.NewDirect(r.svc.Handler())
	dest := echoServer(t)
	v, done := openStream(t, direct, dest)
	echoes(t, v, "hello")
	v.CloseWrite()
	if err := <-done; err != nil {
		t.Errorf("Carry: %v", err)
	}
}
