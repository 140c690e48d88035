package testkit

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
	"testing"
	"time"
)

// validity is how long a test certificate is valid before and after its creation.
const validity = 24 * time.Hour

// CA is a certificate authority of one test. It is valid for a day and has an ECDSA P-256 key.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA creates an authority.
func NewCA(t testing.TB) *CA {
	t.Helper()
	key := newKey(t)
	template := template("test CA")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	return &CA{cert: sign(t, template, template, &key.PublicKey, key), key: key}
}

// Certificate returns the authority's own certificate.
func (c *CA) Certificate() *x509.Certificate { return c.cert }

// Pool returns a pool that contains the authority's certificate and no other.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.cert)
	return pool
}

// PEM returns the authority's certificate as a PEM block.
func (c *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

// File writes the authority's certificate into a temporary directory and returns the path of the PEM file.
func (c *CA) File(t testing.TB) string {
	t.Helper()
	return write(t, t.TempDir(), "ca.pem", c.PEM())
}

// Issue returns a certificate that is valid for servers and clients under the given names. A name that is an IP address
// becomes an address of the certificate, any other one a DNS name; the first is the common name as well.
func (c *CA) Issue(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	return c.IssueFrom(t, func(*x509.Certificate) {}, names...)
}

// IssueFrom is Issue with a change to the template before it is signed, for certificates that are expired, have no name,
// or may not be used by a server.
func (c *CA) IssueFrom(t testing.TB, change func(template *x509.Certificate), names ...string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := template("")
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if len(names) > 0 {
		template.Subject.CommonName = names[0]
	}
	change(template)
	leaf := sign(t, template, c.cert, &key.PublicKey, c.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, c.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

// IssueFiles is Issue that writes the certificate chain and the key (PKCS #8) as PEM files into a temporary directory.
func (c *CA) IssueFiles(t testing.TB, names ...string) (certFile, keyFile string) {
	t.Helper()
	dir := t.TempDir()
	return WriteCertificate(t, dir, c.Issue(t, names...))
}

// WriteCertificate writes a certificate chain and its key as cert.pem and key.pem into dir, over older ones.
func WriteCertificate(t testing.TB, dir string, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	var chain []byte
	for _, der := range cert.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatalf("encode test key: %v", err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return write(t, dir, "cert.pem", chain), write(t, dir, "key.pem", key)
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-validity), NotAfter: time.Now().Add(validity),
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("create test key: %v", err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatalf("sign test certificate: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("parse test certificate: %v", err)
	}
	return cert
}

func write(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return path
}
