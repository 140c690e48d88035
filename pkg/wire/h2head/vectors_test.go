package h2head_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

func load(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRequestKinds(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name    string              `json:"name"`
			Want    string              `json:"classified_as"`
			Headers map[string][]string `json:"headers"`
		} `json:"vectors"`
	}
	load(t, "h2_request_kinds.json", &file)
	for _, v := range file.Vectors {
		first := func(name string) string {
			for k, vals := range v.Headers {
				if strings.EqualFold(k, name) && len(vals) > 0 {
					return vals[0]
				}
			}
			return ""
		}
		if got := h2head.Classify(first(h2head.Upgrade), first(h2head.Source)); got.String() != v.Want {
			t.Errorf("%s: kind = %s, want %s", v.Name, got, v.Want)
		}
	}
}

func TestBlockVectors(t *testing.T) {
	// rejected are vectors that we refuse although the reference accepts them (docs/spec/wire.md 16, quirk 15).
	rejected := map[string]string{"in_newline_inside": "quirk 15"}
	type header struct {
		Name  string `json:"name"`
		Value string `json:"value_hex"`
	}
	var file struct {
		Vectors []struct {
			Name       string   `json:"name"`
			Op         string   `json:"op"`
			Headers    []header `json:"headers"`
			Serialized string   `json:"serialized"`
			Error      string   `json:"error"`
		} `json:"vectors"`
	}
	load(t, "h2_header_serialization.json", &file)
	for _, v := range file.Vectors {
		var want []stream.Pair
		for _, h := range v.Headers {
			val, err := hex.DecodeString(h.Value)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, stream.Pair{Key: h.Name, Val: string(val)})
		}
		if v.Op == "serialize" {
			b := []byte("before")
			for _, p := range want {
				b = h2head.AppendItem(b, len("before"), p.Key, p.Val)
			}
			if got := string(b[len("before"):]); got != v.Serialized {
				t.Errorf("%s: block = %q, want %q", v.Name, got, v.Serialized)
			}
		}
		got, err := h2head.ParseBlock(nil, v.Serialized, "", roomy)
		if v.Error != "" || rejected[v.Name] != "" {
			if !errors.Is(err, h2head.ErrBlock) {
				t.Errorf("%s: parsed as %v, %v", v.Name, got, err)
			}
			continue
		}
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: parsed: %v\n%s", v.Name, err, d)
		}
	}
}

func TestResponseMeta(t *testing.T) {
	var file struct {
		Vectors []struct{ Case, Value string } `json:"vectors"`
	}
	load(t, "h2_response_meta.json", &file)
	ours := map[string]string{
		"cloudflared": h2head.MetaConnector, "cloudflared_rate_limited": h2head.MetaRateLimited, "origin": h2head.MetaOrigin,
	}
	for _, v := range file.Vectors {
		if ours[v.Case] != v.Value {
			t.Errorf("%s: %q, want %q", v.Case, ours[v.Case], v.Value)
		}
	}
	tests := []struct {
		meta               string
		connector, limited bool
	}{
		{h2head.MetaOrigin, false, false},
		{h2head.MetaConnector, true, false},
		{h2head.MetaRateLimited, true, true},
		{`{"src": "cloudflared", "flow_rate_limited": true}`, true, true},
		{"", false, false},
		{"nonsense", false, false},
	}
	for _, tt := range tests {
		if c, l := h2head.FromConnector(tt.meta); c != tt.connector || l != tt.limited {
			t.Errorf("FromConnector(%q) = %v, %v", tt.meta, c, l)
		}
	}
}

func TestFlushRules(t *testing.T) {
	var file struct {
		Vectors []struct {
			Want    bool                `json:"flush_each_write"`
			Headers map[string][]string `json:"headers"`
		} `json:"vectors"`
	}
	load(t, "h2_flush_rules.json", &file)
	for _, v := range file.Vectors {
		var pairs []stream.Pair
		for name, values := range v.Headers {
			for _, val := range values {
				pairs = append(pairs, stream.Pair{Key: stream.HeaderPrefix + name, Val: val})
			}
		}
		if got := h2head.FlushEachWrite(pairs, stream.HeaderPrefix); got != v.Want {
			t.Errorf("%v: flush = %v, want %v", v.Headers, got, v.Want)
		}
	}
}

func TestInBlock(t *testing.T) {
	for name, want := range map[string]bool{
		"Content-Type": true, "Connection": true, "Upgrade": true, "Sec-Websocket-Accept": true, "Cf-Ray": true, "cf": true,
		":status": false, "Cf-Int-Cloudflared-Tracing": false, "CF-CLOUDFLARED-X": false, "cf-proxy-y": false,
	} {
		if got := h2head.InBlock(name); got != want {
			t.Errorf("InBlock(%q) = %v", name, got)
		}
	}
}
