package h2head_test

import (
	"slices"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// roomy are limits that fuzz inputs do not reach.
var roomy = httpfield.Limits{MaxFields: 1 << 20, MaxBytes: 1 << 30}

// FuzzParseBlock encodes what was parsed and parses it again: the result must be the same.
func FuzzParseBlock(f *testing.F) {
	for _, s := range []string{"", ";;;", "YQ:Yg;", "YQ", "YQ:Yg:Yw", "YQ==:Yg==", "YQ: Yg", "YQ:Y\ng", "YR:Yh", ":", "WC1CNjQ:+/+/++++"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, block string) {
		pairs, err := h2head.ParseBlock(nil, block, "", roomy)
		if err != nil {
			return
		}
		var b []byte
		for _, p := range pairs {
			b = h2head.AppendItem(b, 0, p.Key, p.Val)
		}
		again, err := h2head.ParseBlock(nil, string(b), "", roomy)
		if err != nil || !slices.Equal(again, pairs) {
			t.Errorf("%q: %v, then %v, %v", block, pairs, again, err)
		}
	})
}

// FuzzAppendItem parses what was appended: every header must survive.
func FuzzAppendItem(f *testing.F) {
	f.Add("Set-Cookie", "a=1; Path=/", "", "\x00\xff")
	f.Fuzz(func(t *testing.T, name, value, name2, value2 string) {
		want := []stream.Pair{{Key: "h:" + name, Val: value}, {Key: "h:" + name2, Val: value2}}
		b := h2head.AppendItem(nil, 0, name, value)
		b = h2head.AppendItem(b, 0, name2, value2)
		got, err := h2head.ParseBlock(nil, string(b), "h:", roomy)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("block %q = %v, %v, want %v", b, got, err, want)
		}
	})
}

// FuzzFromConnector checks that no value of the origin counts as one of the connector.
func FuzzFromConnector(f *testing.F) {
	f.Add(h2head.MetaOrigin)
	f.Add(h2head.MetaRateLimited)
	f.Fuzz(func(t *testing.T, meta string) {
		if connector, _ := h2head.FromConnector(meta); connector && meta == h2head.MetaOrigin {
			t.Error("the origin is the connector")
		}
	})
}
