package h2head_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// TestEncodeRequestDropsHopByHopAndReservedHeaders encodes headers that belong to one connection, in spellings that an application would
// read as the same name, and headers that only edge and connector may send.
func TestEncodeRequestDropsHopByHopAndReservedHeaders(t *testing.T) {
	req := stream.Request{Dest: "http://a/", Metadata: []stream.Pair{
		{Key: "HttpHeader:Connection", Val: "x"},
		{Key: "HttpHeader:keep_alive", Val: "x"},
		{Key: "HttpHeader:Transfer_Encoding", Val: "chunked"},
		{Key: "HttpHeader:Te", Val: "gzip"},
		{Key: "HttpHeader:Cf-Cloudflared-Proxy-Src", Val: "x"},
		{Key: "HttpHeader:Culvert-Accept", Val: "x"},
		{Key: "HttpHeader:X-Bad", Val: "a\r\nb"},
		{Key: "HttpHeader:X Bad", Val: "x"},
		{Key: "HttpHeader:X-Good", Val: "1"},
		{Key: "HttpHeader:Te", Val: "trailers"},
	}}
	fields, _ := h2head.EncodeRequest(nil, &req)
	var got []string
	for _, f := range fields[4:] {
		got = append(got, f.Name)
	}
	if d := cmp.Diff([]string{"x-good", "te"}, got); d != "" {
		t.Error(d)
	}
}

// TestUpgradeCrossesTheWire encodes a request for another protocol than WebSocket and decodes it again. Only a request of that kind
// carries the field.
func TestUpgradeCrossesTheWire(t *testing.T) {
	upgrade := stream.Pair{Key: stream.KeyUpgrade, Val: "other/2, echo/1"}
	for typ, want := range map[stream.Type]string{stream.WebSocket: upgrade.Val, stream.HTTP: ""} {
		req := stream.Request{Dest: "http://a/", Type: typ, Metadata: []stream.Pair{upgrade}}
		fields, _ := h2head.EncodeRequest(nil, &req)
		var got stream.Request
		h2head.DecodeRequest(fields, false, &got)
		if val, _ := stream.Lookup(got.Metadata, stream.KeyUpgrade); val != want || got.Type != typ {
			t.Errorf("type %d: decoded as type %d with %q, want %q", typ, got.Type, val, want)
		}
	}
}

// TestManagementKeyCrossesTheWire: the edge's key arrives, and what a visitor sends under its name does not.
func TestManagementKeyCrossesTheWire(t *testing.T) {
	forged := stream.Pair{Key: stream.HeaderKey("Culvert-Management"), Val: "forged"}
	key := stream.Pair{Key: stream.KeyManagement, Val: "key"}
	for want, metadata := range map[string][]stream.Pair{"key": {key, forged}, "": {forged}} {
		for _, typ := range []stream.Type{stream.WebSocket, stream.HTTP} {
			req := stream.Request{Dest: "http://a/", Type: typ, Metadata: metadata}
			fields, _ := h2head.EncodeRequest(nil, &req)
			var got stream.Request
			h2head.DecodeRequest(fields, false, &got)
			if val, _ := stream.Lookup(got.Metadata, stream.KeyManagement); val != want {
				t.Errorf("type %d: decoded %q, want %q", typ, val, want)
			}
			if _, there := stream.Lookup(got.Metadata, forged.Key); there {
				t.Errorf("type %d: the visitor's field arrived", typ)
			}
		}
	}
}

func TestMalformedLengthIsUnknown(t *testing.T) {
	for val, want := range map[string]int64{
		"5": 5, "0": 0, "": h2head.Unknown, "-1": h2head.Unknown, "5,5": h2head.Unknown, "9223372036854775808": h2head.Unknown,
	} {
		req := stream.Request{Dest: "http://a/", Metadata: []stream.Pair{{Key: "HttpHeader:Content-Length", Val: val}}}
		fields, sent := h2head.EncodeRequest(nil, &req)
		if sent.Length != want {
			t.Errorf("length %q = %d, want %d", val, sent.Length, want)
		}
		if kept := len(fields) == 5; kept != (want != h2head.Unknown) {
			t.Errorf("length %q is in the header: %v", val, kept)
		}
	}
}

// TestBlockLimits: a block is bounded by the number and the decoded size of its headers.
func TestBlockLimits(t *testing.T) {
	many := []byte(nil)
	for range 257 {
		many = h2head.AppendItem(many, 0, "a", "")
	}
	large := h2head.AppendItem(nil, 0, "a", strings.Repeat("x", 128<<10))
	fits := h2head.AppendItem(nil, 0, "a", strings.Repeat("x", 128<<10-33))
	for _, tt := range []struct {
		name  string
		block []byte
		want  error
	}{{"257 headers", many, httpfield.ErrTooManyFields}, {"128 KiB", large, httpfield.ErrTooLarge}, {"the limit", fits, nil}} {
		head := []httpfield.Field{{Name: ":status", Value: "200"}, {Name: h2head.Block, Value: string(tt.block)}}
		var resp stream.Response
		if _, err := h2head.DecodeResponse(head, h2head.Sent{}, false, httpfield.DefaultLimits(), &resp); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}
