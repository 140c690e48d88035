package flow_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
)

// testOrigin is one way to reach a handler.
type testOrigin struct {
	name, service, proto string
	settings             []string
}

// httpOrigins serves a handler over every HTTP that origins speak.
func httpOrigins(t testing.TB, h http.Handler) []testOrigin {
	t.Helper()
	start := func(begin func(*httptest.Server), protocols func(*http.Protocols)) *httptest.Server {
		srv := httptest.NewUnstartedServer(h)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.Config.Protocols = new(http.Protocols)
		protocols(srv.Config.Protocols)
		srv.EnableHTTP2 = srv.Config.Protocols.HTTP2()
		begin(srv)
		t.Cleanup(srv.Close)
		return srv
	}
	plain := start((*httptest.Server).Start, func(p *http.Protocols) { p.SetHTTP1(true) })
	h2c := start((*httptest.Server).Start, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	secure := start((*httptest.Server).StartTLS, func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) })
	return []testOrigin{
		{"h1", plain.URL, "HTTP/1.1", nil},
		{"h1 tls", secure.URL, "HTTP/1.1", []string{"noTLSVerify: true"}},
		{"h2 tls", secure.URL, "HTTP/2.0", []string{"noTLSVerify: true", "http2Origin: true"}},
		{"h2c", "h2c" + h2c.URL[len("http"):], "HTTP/2.0", nil},
	}
}
