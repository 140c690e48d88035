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
	"time"
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

// LoadTLS is Load of the files that WriteTLS wrote into dir.
func LoadTLS(dir string) (server, client *tls.Config, err error) { return FilesIn(dir).Load() }

// Load makes the configurations of both ends. Each presents the certificate and accepts only one of the same
// authority with the right name.
func (f TLSFiles) Load() (server, client *tls.Config, err error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("link certificate: %w", err)
	}
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, nil, fmt.Errorf("link authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, nil, fmt.Errorf("link authority: no certificate in %s", f.CA)
	}
	base := tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS13,
		// A flush is one record and one system call from the first byte on, not a ramp of small records.
		DynamicRecordSizingDisabled: true,
		SessionTicketsDisabled:      true,
	}
	server = base.Clone()
	server.ClientAuth = tls.RequireAndVerifyClientCert
	server.ClientCAs = pool
	server.VerifyConnection = verifyPeerName
	client = base.Clone()
	client.RootCAs = pool
	client.ServerName = ServerName
	return server, client, nil
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
