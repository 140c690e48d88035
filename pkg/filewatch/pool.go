package filewatch

import (
	"crypto/x509"
	"fmt"
	"sync/atomic"
)

// Pool reads the certificates of a PEM file, such as the authorities to trust. The function that it returns gives the latest
// ones; w, which may be nil, reads the file again when it changes. name says in errors and events what the file is.
func (w *Watcher) Pool(name, path string) (func() *x509.CertPool, error) {
	var current atomic.Pointer[x509.CertPool]
	_, err := w.Add(Set{Name: name, Paths: []string{path}, Apply: func(contents [][]byte) error {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(contents[0]) {
			return fmt.Errorf("%s holds no certificate", path)
		}
		current.Store(pool)
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return current.Load, nil
}
