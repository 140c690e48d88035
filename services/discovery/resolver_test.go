package discovery

import "testing"

func TestNamedResolverIsTheOnlyOne(t *testing.T) {
	for name, tc := range map[string]struct {
		resolver, dot string
		want          bool
	}{
		"nothing named":             {SystemResolver, defaultDoT, true},
		"resolver named":            {"192.0.2.1:53", defaultDoT, false},
		"resolver and server named": {"192.0.2.1:53", "192.0.2.2:853", true},
		"server named":              {SystemResolver, "192.0.2.2:853", true},
		"off":                       {SystemResolver, "off", false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Default()
			cfg.Resolver, cfg.DoT.Addr = tc.resolver, tc.dot
			if got := cfg.fallsBackToDoT(); got != tc.want {
				t.Errorf("falls back to DNS over TLS = %v, want %v", got, tc.want)
			}
		})
	}
}
