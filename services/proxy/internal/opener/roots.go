package opener

import (
	"crypto/x509"
	"fmt"
	"log/slog"

	"github.com/culvert-tunnel/culvert/pkg/edgeroots"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// trusted returns the certificates that an https origin may chain to: the system's roots, the embedded ones of pkg/edgeroots,
// and those of ca, which is PEM and may be empty. Stock cloudflared trusts the same. A host without readable roots is not an
// error: the other certificates may be enough.
func trusted(ca []byte, file string, log *slog.Logger) (*x509.CertPool, error) {
	pool, err := edgeroots.Pool()
	if err != nil {
		log.Warn("system roots unavailable", slog.Any(logkey.Err, err))
		pool = x509.NewCertPool()
		if err := edgeroots.Add(pool); err != nil {
			return nil, fmt.Errorf("embedded roots: %w", err)
		}
	}
	if len(ca) > 0 && !pool.AppendCertsFromPEM(ca) {
		log.Warn("no certificate in CA file", slog.String(logkey.File, file))
	}
	return pool, nil
}

// maxCAFile bounds a CA file, in bytes.
const maxCAFile = 1 << 20

// ReadCA reads the CA file of a service that speaks HTTP; it returns nothing if there is none. A pushed configuration may
// name any file, so only regular files of at most 1 MiB are read, and only those that the local policy allows.
func (p *Opener) ReadCA(svc ingress.Service, set ingress.OriginRequest) ([]byte, error) {
	if set.CAPool == "" || svc.OriginScheme() == "" || svc.Kind == ingress.KindHelloWorld {
		return nil, nil // the reference, too, reads it for no other service
	}
	err := p.point.File(set.CAPool)
	var pem []byte
	if err == nil {
		pem, err = filewatch.ReadRegular(set.CAPool, maxCAFile)
	}
	if err != nil {
		//nolint:staticcheck // the reference's text
		return nil, fmt.Errorf("Error starting local service %s: Error loading cert pool: unable to read the file %s for --origin-ca-pool: %w",
			svc, set.CAPool, err)
	}
	return pem, nil
}
