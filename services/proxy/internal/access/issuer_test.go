package access_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/access"
)

const issuerURL = "https://id.test"

// issuer is an OpenID Connect issuer behind TLS whose connections are pipes, so that it runs in fake time.
type issuer struct {
	t     *testing.T
	conns chan net.Conn
	over  chan struct{}
	cfg   access.Config
	ca    *testkit.CA
	guard *access.Guard

	mu      sync.Mutex
	keys    []any // JSON of the key set
	down    bool
	wait    chan struct{} // responses wait for it
	fetches int
	about   string // issuer in the metadata
	pipes   []net.Conn
}

func (i *issuer) Accept() (net.Conn, error) {
	select {
	case c := <-i.conns:
		return c, nil
	case <-i.over:
		return nil, net.ErrClosed
	}
}

func (i *issuer) Close() error   { return nil }
func (i *issuer) Addr() net.Addr { return &net.TCPAddr{} }

func (i *issuer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	i.mu.Lock()
	i.pipes = append(i.pipes, near, far)
	i.mu.Unlock()
	select {
	case i.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	wait, down, about := i.wait, i.down, i.about
	i.mu.Unlock()
	if wait != nil {
		<-wait
	}
	switch {
	case down:
		http.Error(w, "<html>", http.StatusInternalServerError)
	case r.URL.Path == "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": about, "jwks_uri": issuerURL + "/keys"})
	default:
		i.mu.Lock()
		defer i.mu.Unlock()
		i.fetches++
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.keys})
	}
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// hangUp breaks all connections.
func (i *issuer) hangUp() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range i.pipes {
		_ = c.Close()
	}
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, conns: make(chan net.Conn), over: make(chan struct{}), cfg: access.Default(), ca: testkit.NewCA(t), about: issuerURL}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{i.ca.Issue(t, "id.test")}}
	srv := &http.Server{Handler: i, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(tls.NewListener(i, conf))
	}()
	t.Cleanup(func() {
		close(i.over)
		<-done
		// Close waits for closing alerts with a mutex that connections want, too: fake time would stand still, and so would their deadlines.
		i.hangUp()
		_ = srv.Close()
		pass(time.Minute) // ends what is left, for which nobody waits
	})
	return i
}

// signer makes tokens.
type signer struct {
	id  string
	alg jose.SignatureAlgorithm
	key crypto.Signer
}

func newSigner(t *testing.T, id string, alg jose.SignatureAlgorithm) signer {
	t.Helper()
	s := signer{id: id, alg: alg}
	var err error
	if alg == jose.ES256 {
		s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		s.key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s signer) public() any {
	return jose.JSONWebKey{Key: s.key.Public(), KeyID: s.id, Algorithm: string(s.alg), Use: "sig"}
}

func (s signer) token(t *testing.T, claims jwt.Claims) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT")
	if s.id != "" {
		opts = opts.WithHeader("kid", s.id)
	}
	j, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(j).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func claims() jwt.Claims {
	return jwt.Claims{Issuer: issuerURL, Audience: jwt.Audience{"a"}, Expiry: jwt.NewNumericDate(time.Now().Add(48 * time.Hour))}
}

func header(token string) http.Header { return http.Header{"Cf-Access-Jwt-Assertion": {token}} }
