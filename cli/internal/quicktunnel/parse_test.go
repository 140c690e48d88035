package quicktunnel

import "testing"

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"success":true,"result":{"id":"6f0a1de4-3a1e-4b8e-9b0a-0123456789ab","hostname":"a.b","secret":"YQ=="}}`))
	f.Add([]byte(`{"errors":[{"code":1,"message":"m"}]}`))
	f.Add([]byte(`<html>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parse(body)
		if err != nil && !got.Credentials.TunnelID.IsZero() {
			t.Errorf("error %v with the tunnel %v", err, got.Credentials.TunnelID)
		}
		if err == nil && got.URL() == "" {
			t.Error("a tunnel without an address")
		}
	})
}
