package h2

import (
	"crypto/tls"
	"crypto/x509"
)

// ServerName is the name that a connector asks for and verifies (docs/spec/wire.md 3).
const ServerName = "h2.cftunnel.com"

// ClientTLS is the connector's TLS configuration (docs/spec/wire.md 3): no ALPN. Nil roots mean the system's. strictPQ refuses
// key exchanges that a quantum computer could break.
func ClientTLS(roots *x509.CertPool, strictPQ bool) *tls.Config {
	c := &tls.Config{
		ServerName:             ServerName,
		MinVersion:             tls.VersionTLS12,
		RootCAs:                roots,
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768, tls.CurveP256},
		SessionTicketsDisabled: true,
		// One write carries many frames, so small records would cost time and not reduce latency.
		DynamicRecordSizingDisabled: true,
	}
	if strictPQ {
		c.CurvePreferences = c.CurvePreferences[:1]
		c.MinVersion = tls.VersionTLS13 // TLS 1.2 does not have the key exchange
	}
	return c
}

// serverTLS gives the edge's configuration. ALPN is ignored: connectors offer no protocol, and one that offers h2 gets the same.
func serverTLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = nil
	c.DynamicRecordSizingDisabled = true
	return c
}
