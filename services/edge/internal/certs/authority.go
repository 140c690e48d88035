package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/atomicfile"
)

const (
	certFile = "ca.pem"
	keyFile  = "ca-key.pem"

	rootLife = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// renewBefore is the remaining lifetime at which a leaf is replaced.
	renewBefore = 30 * 24 * time.Hour
	// backdate makes certificates valid for peers whose clocks are slow.
	backdate = time.Hour
	// maxLeaves bounds the cache, which is cleared when it is full.
	maxLeaves = 4096
)

// Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	path string
	now  func() time.Time

	// mu protects the fields below.
	mu     sync.Mutex
	cert   *x509.Certificate
	key    crypto.Signer
	leaves map[string]*tls.Certificate
}

// Open reads the authority of a data directory, and creates it if there is none. When files sees that an operator has replaced the
// certificate and its key, new leaves are issued by the new pair; a pair that cannot be used leaves the former one in use.
func Open(dir string, now func() time.Time, files *filewatch.Watcher) (*Authority, error) {
	a := &Authority{path: filepath.Join(dir, certFile), now: now, leaves: make(map[string]*tls.Certificate)}
	keyPath := filepath.Join(dir, keyFile)
	if _, err := os.Stat(a.path); errors.Is(err, fs.ErrNotExist) {
		if _, kerr := os.Stat(keyPath); kerr == nil {
			return nil, fmt.Errorf("certificate authority: %s exists, but %s does not", keyPath, a.path)
		}
		if err := a.create(keyPath); err != nil {
			return nil, err
		}
	}
	if _, err := files.Add(filewatch.Set{Name: "certificate authority", Paths: []string{a.path, keyPath}, Apply: a.apply}); err != nil {
		return nil, err
	}
	return a, nil
}

// apply uses the pair in the contents of the certificate's file and of the key's file.
func (a *Authority) apply(contents [][]byte) error {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return fmt.Errorf("%s: %w", a.path, err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	switch {
	case !ok:
		return fmt.Errorf("%s: the key cannot sign", a.path)
	case !pair.Leaf.IsCA:
		return fmt.Errorf("%s: not a CA certificate", a.path)
	case a.now().After(pair.Leaf.NotAfter):
		return fmt.Errorf("%s: expired on %s; move it away to have a new one made", a.path, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cert, a.key = pair.Leaf, signer
	clear(a.leaves)
	return nil
}

// create creates the root. It writes the key first, so that a certificate on disk always has its key.
func (a *Authority) create(keyPath string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("CA key: %w", err)
	}
	serial := newSerial()
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Culvert edge CA " + serial.Text(16)[:8]},
		NotBefore:             a.now().Add(-backdate),
		NotAfter:              a.now().Add(rootLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return fmt.Errorf("CA certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("CA key: %w", err)
	}
	if err := atomicfile.Write(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		return fmt.Errorf("CA key: %w", err)
	}
	if err := atomicfile.Write(a.path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return errors.Join(fmt.Errorf("CA certificate: %w", err), os.Remove(keyPath))
	}
	return nil
}

// Path is the file with the root certificate.
func (a *Authority) Path() string { return a.path }

// NotAfter is the time when the root expires.
func (a *Authority) NotAfter() time.Time { return a.root().NotAfter }

func (a *Authority) root() *x509.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cert
}

// Leaf returns a server certificate for names (host names, wildcards, IP addresses), from the cache while it is fresh.
func (a *Authority) Leaf(names ...string) (*tls.Certificate, error) {
	id := fmt.Sprint(names)
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.leaves[id]; ok && a.now().Before(c.Leaf.NotAfter.Add(-renewBefore)) {
		return c, nil
	}
	c, err := a.issueLocked(names)
	if err != nil {
		return nil, err
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves)
	}
	a.leaves[id] = c
	return c, nil
}

func (a *Authority) issueLocked(names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("leaf key: %w", err)
	}
	notAfter := a.now().Add(leafLife)
	if notAfter.After(a.cert.NotAfter) {
		notAfter = a.cert.NotAfter
	}
	tmpl := &x509.Certificate{
		SerialNumber: newSerial(),
		NotBefore:    a.now().Add(-backdate),
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("leaf certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("leaf certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func newSerial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}
