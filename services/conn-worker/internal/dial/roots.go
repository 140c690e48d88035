package dial

import (
	"crypto/x509"
	"fmt"
	"os"

	"github.com/culvert-tunnel/culvert/pkg/edgeroots"
)

// Roots are the certificate authorities to trust: those of the PEM file cacert alone, or, when it is empty, the system's and the
// embedded ones (docs/spec/wire.md 3).
func Roots(cacert string) (*x509.CertPool, error) {
	if cacert == "" {
		return edgeroots.Pool()
	}
	b, err := os.ReadFile(cacert)
	if err != nil {
		return nil, fmt.Errorf("cacert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("cacert: %s holds no certificate", cacert)
	}
	return pool, nil
}
