package edgeroots

import (
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"fmt"
)

//go:embed edge-roots.pem
var bundle []byte

// Pool returns the system's roots together with the embedded certificates. Each call returns a pool of its own, which the
// caller may extend. It fails when the system's roots cannot be read; a system without any is not an error.
func Pool() (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("system roots: %w", err)
	}
	if err := Add(pool); err != nil {
		return nil, err
	}
	return pool, nil
}

// Add adds the embedded certificates to pool.
func Add(pool *x509.CertPool) error {
	certs, err := Certificates()
	if err != nil {
		return err
	}
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return nil
}

// Certificates returns the embedded certificates, parsed.
func Certificates() ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return certs, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("embedded certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
}
