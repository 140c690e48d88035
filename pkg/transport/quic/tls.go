package quic

import (
	"crypto/tls"
	"crypto/x509"
)

const (
	// ServerName is the name that a connector asks for and verifies (docs/spec/wire.md 3).
	ServerName = "quic.cftunnel.com"
	// ALPN is the only protocol that the wire negotiates over QUIC.
	ALPN = "argotunnel"
)

// ClientTLS is the connector's TLS configuration (docs/spec/wire.md 3). Nil roots mean the system's. strictPQ refuses key
// exchanges that a quantum computer could break.
func ClientTLS(roots *x509.CertPool, strictPQ bool) *tls.Config {
	curves := []tls.CurveID{tls.X25519MLKEM768, tls.CurveP256}
	if strictPQ {
		curves = curves[:1]
	}
	return &tls.Config{
		ServerName:             ServerName,
		NextProtos:             []string{ALPN},
		MinVersion:             tls.VersionTLS13,
		RootCAs:                roots,
		CurvePreferences:       curves,
		SessionTicketsDisabled: true,
	}
}
