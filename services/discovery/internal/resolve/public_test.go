package resolve_test

import (
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/services/discovery/internal/dnstest"
	"github.com/culvert-tunnel/culvert/services/discovery/internal/resolve"
)

// guarding is a client that accepts public addresses only below vendor.test.
func guarding(s *dnstest.Server, refused *[]string) *resolve.Client {
	return resolve.New(resolve.Config{
		Server: s.Addr, Timeout: 5 * time.Second, PublicDomain: "vendor.test",
		Refused: func(err error) { *refused = append(*refused, err.Error()) },
	})
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	const vendorSRV, ownSRV = "_s._tcp.vendor.test", "_s._tcp.own.test"
	public := []string{"1.v2.vendor.test. 60 IN A 9.9.9.1", "2.v2.vendor.test. 60 IN A 9.9.9.2"}
	targets := func(name string, hosts ...string) (records []string) {
		for _, h := range hosts {
			records = append(records, name+". 60 IN SRV 1 1 7844 "+h+".")
		}
		return records
	}
	vendorHosts := targets(vendorSRV, "1.v2.vendor.test", "2.v2.vendor.test")
	for _, c := range []struct {
		name, srv string
		records   []string
		// addresses is how many the regions have, 0 for an error; refused is in the error and in the only report.
		addresses int
		refused   string
	}{
		{"public", vendorSRV, both(vendorHosts, public), 2, ""},
		{
			"loopback", vendorSRV, both(vendorHosts, []string{public[0], "2.v2.vendor.test. 60 IN A 127.0.0.1"}), 0,
			"127.0.0.1, the address that a name server gives for 2.v2.vendor.test., is loopback",
		},
		{
			"a private one beside a public one", vendorSRV,
			both(vendorHosts, both(public, []string{"2.v2.vendor.test. 60 IN A 10.0.0.1"})), 0, "is private",
		},
		{
			"the other family is well", vendorSRV,
			both(vendorHosts, both(public, []string{"2.v2.vendor.test. 60 IN AAAA fd00::1"})), 2, "is private",
		},
		{
			"behind an alias", vendorSRV,
			both(vendorHosts, []string{public[0], "2.v2.vendor.test. 60 IN CNAME x.own.test.", "x.own.test. 60 IN A 0.0.0.0"}), 0, "is unspecified",
		},
		{
			"a target of another domain", vendorSRV,
			both(targets(vendorSRV, "1.v2.vendor.test", "x.own.test"), []string{public[0], "x.own.test. 60 IN A 192.168.1.1"}), 0, "is private",
		},
		{
			"one's own names", ownSRV,
			both(targets(ownSRV, "a.own.test", "b.own.test"), []string{"a.own.test. 60 IN A 10.0.0.1", "b.own.test. 60 IN A 127.0.0.1"}), 2, "",
		},
		{
			"a name that ends alike", "_s._tcp.notvendor.test",
			both(targets("_s._tcp.notvendor.test", "a.own.test", "b.own.test"), []string{
				"a.own.test. 60 IN A 10.0.0.1", "b.own.test. 60 IN A 10.0.0.2",
			}), 2, "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var refused []string
			regions, _, err := guarding(dnstest.Start(t, c.records...), &refused).Regions(t.Context(), c.srv)
			if n := (edgepool.Pool{Regions: regions}).Count(edgepool.Any); n != c.addresses || (err == nil) != (c.addresses > 0) {
				t.Errorf("Regions: %+v, %v, want %d addresses", regions, err, c.addresses)
			}
			if err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("error %v, want %q in it", err, c.refused)
			}
			if (c.refused != "") != (len(refused) == 1) || c.refused != "" && !strings.Contains(refused[0], c.refused) {
				t.Errorf("reported %q, want %q", refused, c.refused)
			}
		})
	}
}

// A static list is the operator's word, unless it names a host of the vendor.
func TestPrivateStaticAddresses(t *testing.T) {
	s := dnstest.Start(t, "1.v2.vendor.test. 60 IN A 10.0.0.1", "a.own.test. 60 IN A 10.0.0.2")
	var refused []string
	got, skipped, err := guarding(s, &refused).Static(t.Context(), []string{"127.0.0.1:7844", "a.own.test:7844", "1.V2.Vendor.test:7844"})
	if err != nil || (edgepool.Pool{Regions: got}).Count(edgepool.Any) != 2 {
		t.Errorf("Static: %+v, %v", got, err)
	}
	if skipped == nil || !strings.Contains(skipped.Error(), "is private") || len(refused) != 1 {
		t.Errorf("skipped: %v, reported %q", skipped, refused)
	}
}
