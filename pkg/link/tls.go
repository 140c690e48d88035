package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
)

// ServerName is the name in every link certificate; both ends check it, whatever the host is called.
const ServerName = "link.culvert.internal"

// certLife is how long certificates of WriteTLS are valid: they are replaced by writing new ones, not by expiry.
const certLife = 10 * 365 * 24 * time.Hour

// TLSFiles are the files of mutual TLS, PEM.
type TLSFiles struct {
	CA   string `yaml:"ca" usage:"certificate of the authority that signed every link certificate"`
	Cert string `yaml:"cert" usage:"link certificate of this process"`
	Key  string `yaml:"key" usage:"key of the link certificate"`
}

// FilesIn are the names that WriteTLS uses.
func FilesIn(dir string) TLSFiles {
	return TLSFiles{
		CA:   filepath.Join(dir, "ca.pem"),
		Cert: filepath.Join(dir, "link.pem"),
		Key:  filepath.Join(dir, "link-key.pem"),
	}
}

// LoadTLS makes the configurations of both ends from the files that WriteTLS wrote into dir. Each end presents the certificate and
// accepts only one of the same authority with the right name. files, which may be nil, reads the three files again together when
// they change: new connections use the new ones, and files that do not fit together leave the former ones in use.
func LoadTLS(dir string, files *filewatch.Watcher) (server *tls.Config, client func() *tls.Config, err error) {
	var current atomic.Pointer[ends]
	f := FilesIn(dir)
	_, err = files.Add(filewatch.Set{
		Name: "link certificate", Paths: []string{f.CA, f.Cert, f.Key}, Apply: func(contents [][]byte) error {
			e, err := newEnds(contents[0], contents[1], contents[2])
			if err == nil {
				current.Store(e)
			}
			return err
		},
	})
	if err != nil {
		return nil, nil, err
	}
	server = current.Load().server.Clone()
	server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Load().server, nil }
	return server, func() *tls.Config { return current.Load().client }, nil
}

// ends are the configurations of both ends of the link.
type ends struct{ server, client *tls.Config }

func newEnds(ca, certPEM, keyPEM []byte) (*ends, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the authority's file has no certificate")
	}
	between := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		between.AddCert(c)
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, DNSName: ServerName}); err != nil {
		return nil, fmt.Errorf("the certificate and the authority do not fit: %w", err)
	}
	base := tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS13,
		// A flush is one record and one system call from the first byte on, not a ramp of small records.
		DynamicRecordSizingDisabled: true,
		SessionTicketsDisabled:      true,
	}
	e := &ends{server: base.Clone(), client: base.Clone()}
	e.server.ClientAuth = tls.RequireAndVerifyClientCert
	e.server.ClientCAs = pool
	e.server.VerifyConnection = verifyPeerName
	e.client.RootCAs = pool
	e.client.ServerName = ServerName
	return e, nil
}

// verifyPeerName checks the name in the peer's certificate. crypto/tls does that for clients only.
func verifyPeerName(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("link peer has no certificate")
	}
	return cs.PeerCertificates[0].VerifyHostname(ServerName)
}

// WriteTLS makes an authority and one link certificate for all processes of a deployment: ca.pem, link.pem and
// link-key.pem (0600). The authority's key is thrown away. Existing files are left alone, which is an error that
// wraps fs.ErrExist.
func WriteTLS(dir string) error {
	ca, caKey, err := newAuthority()
	if err != nil {
		return fmt.Errorf("link authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("link key: %w", err)
	}
	leaf := template(ServerName)
	leaf.DNSNames = []string{ServerName}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return fmt.Errorf("link certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("link key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("link certificate directory: %w", err)
	}
	f := FilesIn(dir)
	return errors.Join(
		writePEM(f.Key, "PRIVATE KEY", keyDER, 0o600),
		writePEM(f.Cert, "CERTIFICATE", der, 0o644),
		writePEM(f.CA, "CERTIFICATE", ca.Raw, 0o644),
	)
}

func newAuthority() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := template("culvert link authority")
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func template(name string) *x509.Certificate {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	serial[0] &= 0x7f
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certLife),
	}
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("link certificate file: %w", err)
	}
	err = pem.Encode(f, &pem.Block{Type: kind, Bytes: der})
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("link certificate file %s: %w", path, err)
	}
	return nil
}
