package flow

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// wireVector is one case of connect_request.json.
type wireVector struct {
	Name  string `json:"name"`
	Hex   string `json:"hex"`
	Type  int    `json:"type"`
	Error string `json:"http_request_error"`
	Want  *struct {
		Length   int64               `json:"content_length"`
		Values   map[string][]string `json:"header_values_hex"`
		Host     string              `json:"host"`
		Method   string              `json:"method"`
		NoBody   bool                `json:"no_body"`
		Transfer []string            `json:"transfer_encoding"`
		URL      string              `json:"url"`
	} `json:"http_request"`
}

// dropped are headers that the reference keeps on the request and we do not: framing is made anew.
func dropped(name string) bool { return requestRule(name) != passHeader && name != "User-Agent" }

func TestParseWireVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/connect_request.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []wireVector `json:"vectors"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	tested := 0
	for _, v := range file.Vectors {
		if v.Type != 0 || v.Want == nil && v.Error == "" {
			continue
		}
		tested++
		t.Run(v.Name, func(t *testing.T) {
			raw, err := hex.DecodeString(v.Hex)
			if err != nil {
				t.Fatal(err)
			}
			var r stream.Request
			if _, err := stream.ParseRequest(raw, &r); err != nil {
				t.Fatal(err)
			}
			var p parsed
			err = p.parse(&r, httpfield.DefaultLimits().BehindEdge())
			if v.Error != "" {
				// The language library's tail of a URL error is no promise.
				if err == nil || !strings.HasPrefix(v.Error, "parse ") && err.Error() != v.Error {
					t.Errorf("parse: %v, want %s", err, v.Error)
				}
				return
			}
			if v.Name == "http_value_8bit" {
				if err == nil {
					t.Error("a control character in a header value was taken") // the reference fails later, in its HTTP client
				}
				return
			}
			if err != nil {
				t.Fatalf("parse: %v", err)
			}
			if p.method != v.Want.Method || p.host != v.Want.Host || p.length != v.Want.Length || (p.length == 0) != v.Want.NoBody {
				t.Errorf("parse: %s %s length %d, want %+v", p.method, p.host, p.length, v.Want)
			}
			want := http.Header{}
			for name, values := range v.Want.Values {
				if dropped(name) {
					continue
				}
				for _, x := range values {
					text, _ := hex.DecodeString(x)
					want.Add(name, string(text))
				}
			}
			if diff := cmp.Diff(want, p.header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			target := p.raw
			if p.asks {
				target += "?" + p.query
			}
			if !strings.HasSuffix(v.Want.URL, target) {
				t.Errorf("target %q, want the end of %q", target, v.Want.URL)
			}
		})
	}
	if tested < 8 {
		t.Errorf("%d vectors tested", tested)
	}
}

func TestLengthRules(t *testing.T) {
	for _, tc := range []struct {
		length, transfer string
		want             int64
	}{
		{"", "", 0},
		{"0", "", 0},
		{"5", "", 5},
		{"-1", "", unknownLength},
		{"", "chunked", unknownLength},
		{"", "gzip, Chunked", unknownLength},
		{"0", "chunked", unknownLength},
		{"5", "chunked", 5},
		{"", "identity", 0},
	} {
		r := stream.Request{Dest: "http://x/"}
		if tc.length != "" {
			r.Metadata = append(r.Metadata, stream.Pair{Key: "HttpHeader:content-length", Val: tc.length})
		}
		if tc.transfer != "" {
			r.Metadata = append(r.Metadata, stream.Pair{Key: "HttpHeader:Transfer-Encoding", Val: tc.transfer})
		}
		var p parsed
		if err := p.parse(&r, httpfield.DefaultLimits().BehindEdge()); err != nil || p.length != tc.want {
			t.Errorf("Content-Length %q, Transfer-Encoding %q: length %d, %v; want %d", tc.length, tc.transfer, p.length, err, tc.want)
		}
	}
}

// FuzzParse checks that whatever passes is safe to put on the wire to an origin, and means the same path to the matcher
// and to the origin.
func FuzzParse(f *testing.F) {
	f.Add("https://app.example.com/a%2Fb|c?x=1#f", "GET", "app.example.com", "HttpHeader:X-A", "1")
	f.Add("https://x*", "OPTIONS", "", "HttpHeader:Connection", "close, X-A")
	f.Add("http://[::1", "get", "[::1]:80", "XHttpHeader:Te", "trailers")
	f.Add("//a//b?", "", "x", "HttpHeader:Content-Length", "-5")
	f.Add("", "POST", "x", "HttpHeader:Transfer-Encoding", "chunked")
	f.Fuzz(func(t *testing.T, dest, method, host, key, val string) {
		r := stream.Request{Dest: dest, Metadata: []stream.Pair{
			{Key: stream.KeyMethod, Val: method}, {Key: stream.KeyHost, Val: host}, {Key: key, Val: val}, {Key: key, Val: val},
		}}
		var p parsed
		if p.parse(&r, httpfield.DefaultLimits().BehindEdge()) != nil {
			return
		}
		if !httpfield.IsToken(p.method) || !httpfield.IsValue(p.host) {
			t.Errorf("method %q, host %q", p.method, p.host)
		}
		for _, s := range []string{p.raw, p.query} {
			if strings.ContainsAny(s, " \r\n\t\x00") || hasControl(s) {
				t.Errorf("target part %q breaks the request line", s)
			}
		}
		if u := (&url.URL{Path: p.path, RawPath: p.raw}); u.EscapedPath() != p.raw {
			t.Errorf("path %q matched as %q goes out as %q", p.raw, p.path, u.EscapedPath())
		}
		for name, values := range p.header {
			if http.CanonicalHeaderKey(name) != name || !httpfield.IsToken(name) || dropped(name) && name != "Te" {
				t.Errorf("header %q", name)
			}
			for _, v := range values {
				if !httpfield.IsValue(v) {
					t.Errorf("value %q of %s", v, name)
				}
			}
		}
		if p.length < unknownLength {
			t.Errorf("length %d", p.length)
		}
	})
}
