package dial

import (
	"crypto/x509"

	"github.com/culvert-tunnel/culvert/pkg/edgeroots"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
)

// Roots gives the certificate authorities to trust: those of the PEM file cacert alone, which files, if it is not nil, reads again
// when it changes; or, when cacert is empty, the system's and the embedded ones (docs/spec/wire.md 3).
func Roots(cacert string, files *filewatch.Watcher) (func() *x509.CertPool, error) {
	if cacert != "" {
		return files.Pool("cacert", cacert)
	}
	pool, err := edgeroots.Pool()
	if err != nil {
		return nil, err
	}
	return func() *x509.CertPool { return pool }, nil
}
