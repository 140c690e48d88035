package h2head_test

import (
	"encoding/json"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/wire/h2head"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// TestResponseWriterVectors encodes the origin's responses of the vectors and compares all fields.
func TestResponseWriterVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/h2_response_writer.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			Name    string              `json:"name"`
			Type    string              `json:"connection_type"`
			Status  int                 `json:"status"`
			Flushed bool                `json:"flushed"`
			Headers map[string][]string `json:"h2_headers"`
			User    []string            `json:"user_headers_sorted"`
		} `json:"vectors"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]h2head.Kind{"http": h2head.HTTP, "websocket": h2head.WebSocket, "tcp": h2head.TCP}
	// The response to a configuration push has no block; package h2 writes it.
	elsewhere := map[string]bool{"config_update_style_raw_write_200": true}
	for _, v := range file.Vectors {
		if elsewhere[v.Name] {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			kind := kinds[v.Type]
			var enc h2head.ResponseEncoder
			var resp stream.Response
			request := []httpfield.Field{{Name: ":method", Value: "GET"}}
			switch kind {
			case h2head.WebSocket:
				request = append(request, httpfield.Field{Name: h2head.Upgrade, Value: h2head.UpgradeWebSocket})
			case h2head.TCP:
				request = append(request, httpfield.Field{Name: h2head.Source, Value: "192.0.2.1:1"})
			case h2head.HTTP, h2head.Control, h2head.Configuration: // no field of their own
			}
			meta := v.Headers["Cf-Cloudflared-Response-Meta"][0]
			var origin []stream.Pair
			if connector, limited := h2head.FromConnector(meta); connector {
				resp.Error = "x"
				if limited {
					resp.Metadata = append(resp.Metadata, stream.Pair{Key: stream.KeyFlowLimited, Val: "true"})
				}
			} else {
				block := v.Headers["Cf-Cloudflared-Response-Headers"][0]
				if origin, err = h2head.ParseBlock(nil, block, stream.HeaderPrefix, httpfield.DefaultLimits()); err != nil {
					t.Fatal(err)
				}
				resp.Metadata = response(v.Name, v.Status, kind, origin)
			}
			if v.Name == "tcp_ack_ws_key_traced" {
				request = append(request, httpfield.Field{Name: "sec-websocket-key", Value: "dGhlIHNhbXBsZSBub25jZQ=="})
			}
			var req stream.Request
			info, err := enc.Encode(&resp, h2head.DecodeRequest(request, true, &req))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]string{}
			for _, f := range enc.Fields {
				if f.Name != ":status" {
					got[textproto.CanonicalMIMEHeaderKey(f.Name)] = append(got[textproto.CanonicalMIMEHeaderKey(f.Name)], f.Value)
				}
			}
			if d := cmp.Diff(v.Headers, got); d != "" || h2head.StatusOf(enc.Fields) != strconv.Itoa(v.Status) {
				t.Errorf("status %s, headers\n%s", h2head.StatusOf(enc.Fields), d)
			}
			flush := kind != h2head.HTTP || h2head.FlushEachWrite(resp.Metadata, stream.HeaderPrefix)
			if resp.Error == "" && flush != v.Flushed {
				t.Errorf("flush = %v", flush)
			}
			if resp.Error != "" && !info.Empty {
				t.Error("an error has a body")
			}
		})
	}
}

// response is the stream form of a vector's response, with the headers that the vector's name says are dropped.
func response(name string, status int, kind h2head.Kind, origin []stream.Pair) []stream.Pair {
	if kind == h2head.TCP {
		if name == "tcp_ack_ws_key_traced" {
			return []stream.Pair{{Key: "Cf-Int-Cloudflared-Tracing", Val: "Cg=="}}
		}
		return nil
	}
	if name == "status_101_becomes_200" {
		status = 101
	}
	md := append([]stream.Pair{{Key: stream.KeyStatus, Val: strconv.Itoa(status)}}, origin...)
	if name == "control_headers_dropped" {
		md = slices.Insert(md, 1, stream.Pair{Key: stream.HeaderPrefix + "Cf-Int-X", Val: "1"},
			stream.Pair{Key: stream.HeaderPrefix + "Cf-Cloudflared-Y", Val: "1"}, stream.Pair{Key: stream.HeaderPrefix + "Cf-Proxy-Z", Val: "1"})
	}
	return md
}
