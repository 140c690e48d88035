package h2head_test

import (
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// lines splits text into fields: names and values alternate, one a line.
func lines(text string) []httpfield.Field {
	parts := strings.Split(text, "\n")
	var fields []httpfield.Field
	for i := 0; i+1 < len(parts); i += 2 {
		fields = append(fields, httpfield.Field{Name: parts[i], Value: parts[i+1]})
	}
	return fields
}

// FuzzRequest decodes a header, encodes the ConnectRequest, and encodes that as a header again. The result must neither
// have two framings nor a field that HTTP/2 forbids.
func FuzzRequest(f *testing.F) {
	f.Add(":method\nGET\n:scheme\nhttp\n:authority\na\n:path\n/\ncookie\na=1\ncookie\nb=2\ncontent-length\n5", false)
	f.Add(":method\nPOST\n:path\n*\ntrailer\nX-Sum\nculvert-accept\ninterim\ntransfer-encoding\nchunked", false)
	f.Add(":authority\n192.0.2.1:22\ncf-cloudflared-proxy-src\n192.0.2.7:1\nsec-websocket-key\nx\ncf-trace-id\na:b:c:d", true)
	f.Add(":authority\na\ncf-cloudflared-proxy-connection-upgrade\nwebsocket", true)
	f.Fuzz(func(t *testing.T, text string, ended bool) {
		var req stream.Request
		h2head.DecodeRequest(lines(text), ended, &req)
		b, err := req.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var again stream.Request
		if _, err := stream.ParseRequest(b, &again); err != nil {
			t.Fatal(err)
		}
		fields, sent := h2head.EncodeRequest(nil, &again)
		for _, fd := range fields {
			name := strings.TrimPrefix(fd.Name, ":")
			switch {
			case !httpfield.IsToken(name) || name != strings.ToLower(name):
				t.Errorf("field name %q", fd.Name)
			case fd.Name == "content-length" && sent.Length == h2head.Unknown:
				t.Errorf("a length and an unknown length")
			case fd.Name == "transfer-encoding", fd.Name == "connection", fd.Name == "host":
				t.Errorf("field %s", fd.Name)
			}
		}
	})
}

// FuzzResponse decodes the response header of a connector into a ConnectResponse that can be encoded, or an error.
func FuzzResponse(f *testing.F) {
	f.Add(":status\n200\ncf-cloudflared-response-headers\nYQ:Yg;WC1B:MQ\ncf-cloudflared-response-meta\n"+h2head.MetaOrigin, uint8(0), false)
	f.Add(":status\n502\ncf-cloudflared-response-meta\n"+h2head.MetaRateLimited+"\nculvert-status\n503\nculvert-error\nx", uint8(2), true)
	f.Add(":status\n200\ncf-cloudflared-response-headers\nVXBncmFkZQ:d2Vic29ja2V0", uint8(1), false)
	f.Fuzz(func(t *testing.T, text string, kind uint8, ended bool) {
		head := lines(text)
		if len(h2head.StatusOf(head)) != 3 {
			return
		}
		var resp stream.Response
		_, sent := h2head.EncodeRequest(nil, &stream.Request{
			Type: stream.Type(kind % 3), Metadata: []stream.Pair{{Key: stream.KeyAccept, Val: stream.AcceptFrames}},
		})
		framed, err := h2head.DecodeResponse(head, sent, ended, httpfield.DefaultLimits(), &resp)
		if err != nil {
			return
		}
		if framed && ended {
			t.Error("frames without a body")
		}
		if _, err := resp.Append(nil); err != nil {
			t.Error(err)
		}
	})
}
