package redisstore

import (
	"strings"
	"testing"
)

// No error contains the password of the URL.
func FuzzParseURL(f *testing.F) {
	f.Add("redis://user:", "@host:1/2")
	f.Add("unix://:", "@/run/s?db=x")
	f.Add("rediss://:", "@[::1")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "hunter2hunter2"
		o, err := parseURL(before + secret + after)
		if err == nil && o.Addr == "" {
			t.Error("no error and no address")
		}
		if err != nil && strings.Contains(before, "://") && strings.HasPrefix(after, "@") && strings.Contains(err.Error(), secret) {
			// With other text before it, the secret may not be a password, but a scheme or a database.
			if strings.HasPrefix(before, "redis://") || strings.HasPrefix(before, "rediss://") || strings.HasPrefix(before, "unix://") {
				if !strings.ContainsAny(strings.SplitN(before, "://", 2)[1], "/?#@") {
					t.Errorf("the error shows the password: %v", err)
				}
			}
		}
	})
}
