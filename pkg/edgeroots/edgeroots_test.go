package edgeroots_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgeroots"
)

// fingerprints are those of docs/spec/wire.md 3, in its order.
func fingerprints() []string {
	return []string{
		"aa63697a22764b67b2134ce14cb5690ea336940b93986113f49545917832d80d",
		"d3c7e85c91707fc0a12abc5d88266747aa4fa8e7b162f633ffb3c9d989947620",
		"9a1ac2b4be15f9f27eee20a734cba4e9898f61001b3bd7c84b69b56a3e25a2b9",
	}
}

func certificates(t *testing.T) []*x509.Certificate {
	t.Helper()
	certs, err := edgeroots.Certificates()
	if err != nil {
		t.Fatalf("Certificates() = %v", err)
	}
	return certs
}

func TestFingerprints(t *testing.T) {
	var got []string
	for _, cert := range certificates(t) {
		sum := sha256.Sum256(cert.Raw)
		got = append(got, hex.EncodeToString(sum[:]))
	}
	if !slices.Equal(got, fingerprints()) {
		t.Errorf("fingerprints = %q, want %q", got, fingerprints())
	}
}

// TestNoRootExpiresSoon fails 180 days ahead, so that a release with new certificates can be out in time.
func TestNoRootExpiresSoon(t *testing.T) {
	for _, cert := range certificates(t) {
		if left := time.Until(cert.NotAfter); left < 180*24*time.Hour {
			t.Errorf("%s expires at %s, in %d days: replace edge-roots.pem", cert.Subject, cert.NotAfter, int(left.Hours()/24))
		}
	}
}

func TestEachRootSignsItself(t *testing.T) {
	for _, cert := range certificates(t) {
		if !cert.IsCA || !cert.BasicConstraintsValid {
			t.Errorf("%s is not a certificate of a CA", cert.Subject)
		}
		if err := cert.CheckSignatureFrom(cert); err != nil {
			t.Errorf("%s: signature by itself: %v", cert.Subject, err)
		}
	}
}

func TestPoolTrustsTheRoots(t *testing.T) {
	pool, err := edgeroots.Pool()
	if err != nil {
		t.Fatalf("Pool() = %v", err)
	}
	for _, cert := range certificates(t) {
		opts := x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
		if _, err := cert.Verify(opts); err != nil {
			t.Errorf("Verify(%s) = %v", cert.Subject, err)
		}
	}
}

// TestPoolKeepsTheSystemRoots compares with the system's own pool, where the machine has one.
func TestPoolKeepsTheSystemRoots(t *testing.T) {
	want, err := x509.SystemCertPool()
	if err != nil {
		t.Skipf("SystemCertPool() = %v", err)
	}
	if err := edgeroots.Add(want); err != nil {
		t.Fatalf("Add() = %v", err)
	}
	got, err := edgeroots.Pool()
	if err != nil {
		t.Fatalf("Pool() = %v", err)
	}
	if !got.Equal(want) {
		t.Error("Pool() is not the system's roots and the embedded ones")
	}
}

func TestPoolRefusesAnotherAuthority(t *testing.T) {
	pool, err := edgeroots.Pool()
	if err != nil {
		t.Fatalf("Pool() = %v", err)
	}
	// The name of a real root with another key: a name alone must not be enough.
	ca, key := issue(t, certificates(t)[0].Subject, nil, nil)
	leaf, _ := issue(t, pkix.Name{CommonName: "quic.cftunnel.com"}, ca, key)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "quic.cftunnel.com"})
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("Verify(leaf of a test CA) = %v, want an unknown authority", err)
	}
}

// issue makes a certificate that parent signed, or a CA that signs itself.
func issue(t *testing.T, name pkix.Name, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
	}
	if parent == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		parent, signer = template, key
	} else {
		template.DNSNames = []string{name.CommonName}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
