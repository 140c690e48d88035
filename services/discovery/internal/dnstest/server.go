package dnstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// ServerName is the name in the certificate of the TLS listener.
const ServerName = "dns.culvert.test"

// Server is a running name server.
type Server struct {
	// Addr is the host:port of the UDP and TCP listeners, DoTAddr of the TLS one.
	Addr, DoTAddr string
	// CAFile is a PEM file with the root of the TLS listener's certificate.
	CAFile string

	// mu protects what is below.
	mu      sync.Mutex
	records []dns.RR
	broken  map[string]bool
	asked   map[string]int
}

// Start starts a server with the records, each in zone file form.
func Start(t *testing.T, records ...string) *Server {
	t.Helper()
	s := &Server{broken: map[string]bool{}, asked: map[string]int{}}
	s.Set(t, records...)
	packets, plain := listenBoth(t)
	s.Addr = packets.LocalAddr().String()
	secure, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.DoTAddr = secure.Addr().String()
	secure = tls.NewListener(secure, s.certificate(t))
	s.serve(t, "udp", &dns.Server{PacketConn: packets})
	s.serve(t, "tcp", &dns.Server{Listener: plain})
	s.serve(t, "dot", &dns.Server{Listener: secure})
	return s
}

// listenBoth takes one port for UDP and TCP. One that is free for the first may be taken for the second, so it tries on.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	var last error
	for range 50 {
		packets, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		plain, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, plain
		}
		last = err
		_ = packets.Close() // another port is tried
	}
	t.Fatal(last)
	return nil, nil
}

// Set replaces the records.
func (s *Server) Set(t *testing.T, records ...string) {
	t.Helper()
	var parsed []dns.RR
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatalf("record %q: %v", text, err)
		}
		parsed = append(parsed, rr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = parsed
}

// Break makes a way in ("udp", "tcp", "dot") respond with a server failure, or normally again.
func (s *Server) Break(way string, broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[way] = broken
}

// Queries is the number of queries that arrived by a way.
func (s *Server) Queries(way string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[way]
}

func (s *Server) serve(t *testing.T, way string, server *dns.Server) {
	t.Helper()
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.respond(way, w, q) })
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.ActivateAndServe(); err != nil {
			t.Errorf("name server, %s: %v", way, err)
		}
	})
	<-started
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Errorf("name server, %s: %v", way, err)
		}
		wg.Wait()
	})
}

func (s *Server) respond(way string, w dns.ResponseWriter, q *dns.Msg) {
	reply := new(dns.Msg).SetReply(q)
	s.mu.Lock()
	s.asked[way]++
	if s.broken[way] {
		reply.Rcode = dns.RcodeServerFailure
	} else {
		s.find(reply, q.Question[0])
	}
	s.mu.Unlock()
	if way == "udp" {
		reply.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(reply) // the client has its own time-out
}

func (s *Server) find(reply *dns.Msg, q dns.Question) {
	reply.Rcode = dns.RcodeNameError
	for _, rr := range s.records {
		if !strings.EqualFold(rr.Header().Name, q.Name) {
			continue
		}
		reply.Rcode = dns.RcodeSuccess
		if t := rr.Header().Rrtype; t == q.Qtype || t == dns.TypeCNAME {
			reply.Answer = append(reply.Answer, rr)
		}
	}
}

// certificate makes a root and a server certificate.
func (s *Server) certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: ServerName}, DNSNames: []string{ServerName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
