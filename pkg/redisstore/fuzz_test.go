package redisstore

import (
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// A damaged reply of the store gives an error or records in order, never a panic.
func FuzzDecodeSlots(f *testing.F) {
	f.Add("1700000000000\n0:epoch\n5\n0:deadline\n1800000000000\n0:edge\n192.0.2.1:7844\n0:status\n{\"state\":\"connected\"}")
	f.Add("1700000000000\n300:epoch\n5")
	f.Add("1\n0:edge\n192.0.2.1:7844\n1:edge\n[2001:db8::1]:1\n1:retries\n3")
	f.Add("x")
	f.Add("")
	f.Fuzz(func(t *testing.T, reply string) {
		records, err := decodeSlots("decode", tunnel.ID{}, tunnel.ConnectorID{}, strings.Split(reply, "\n"))
		if err != nil && records != nil {
			t.Errorf("records and the error %v", err)
		}
		for i := 1; i < len(records); i++ {
			if records[i-1].Slot.Index >= records[i].Slot.Index {
				t.Errorf("records out of order: %v", records)
			}
		}
	})
}

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
