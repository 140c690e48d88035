// Package edgeroots holds the three public CA certificates that sign the vendor's edge and its origin certificates, and
// adds them to the system's roots. Stock cloudflared trusts the same set without a flag (docs/spec/wire.md 3).
//
// Source of edge-roots.pem: the vendor publishes these certificates in its documentation of origin certificates and of
// authenticated origin pulls. SHA-256 of each certificate in DER form:
//
//	AA63697A22764B67B2134CE14CB5690EA336940B93986113F49545917832D80D  Origin SSL ECC Certificate Authority  until 2029-08-15
//	D3C7E85C91707FC0A12ABC5D88266747AA4FA8E7B162F633FFB3C9D989947620  Origin SSL Certificate Authority      until 2029-08-15
//	9A1AC2B4BE15F9F27EEE20A734CBA4E9898F61001B3BD7C84B69B56A3E25A2B9  origin-pull.cloudflare.net            until 2029-11-01
//
// The tests compare the fingerprints and fail 180 days before the first certificate expires.
//
// The package starts no goroutine; its functions are safe for concurrent use.
package edgeroots
