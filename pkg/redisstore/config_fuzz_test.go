package redisstore

import (
	"slices"
	"strings"
	"testing"
)

// No error contains the password of the URL.
func FuzzParseURL(f *testing.F) {
	f.Add("redis://user:", "@host:1/2")
	f.Add("unix://:", "@/run/s?db=x")
	f.Add("rediss://:", "@[::1")
	f.Add("redis+sentinel://u:", "@a,b:2/main/1")
	f.Add("rediss+cluster://u:", "@[::1]:3,b:x")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "hunter2hunter2"
		o, err := parseURL(before + secret + after)
		if err == nil && o.name() == "" {
			t.Error("no error and no address")
		}
		if err != nil && strings.Contains(before, "://") && strings.HasPrefix(after, "@") && strings.Contains(err.Error(), secret) {
			// With other text before it, the secret may not be a password, but a scheme or a database.
			scheme, _, _ := strings.Cut(before, "://")
			if slices.Contains([]string{"redis", "rediss", "unix", sentinelScheme, sentinelSchemeTLS, clusterScheme, clusterSchemeTLS}, scheme) {
				if !strings.ContainsAny(strings.SplitN(before, "://", 2)[1], "/?#@") {
					t.Errorf("the error shows the password: %v", err)
				}
			}
		}
	})
}
