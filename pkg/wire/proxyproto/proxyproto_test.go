package proxyproto_test

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
)

func ends(src, dst string) proxyproto.Header {
	return proxyproto.Header{Source: netip.MustParseAddrPort(src), Destination: netip.MustParseAddrPort(dst)}
}

const sig = "\r\n\r\n\x00\r\nQUIT\n"

func TestAppend(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    proxyproto.Header
		v1   string
		v2   string
	}{
		{
			"IPv4", ends("192.0.2.1:49152", "198.51.100.7:22"),
			"PROXY TCP4 192.0.2.1 198.51.100.7 49152 22\r\n",
			sig + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x07\xc0\x00\x00\x16",
		},
		{
			"IPv6", ends("[2001:db8::1]:1", "[::1]:65535"),
			"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
			sig + "\x21\x21\x00\x24" + "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01" +
				strings.Repeat("\x00", 15) + "\x01" + "\x00\x01\xff\xff",
		},
		{
			"mixed", ends("192.0.2.1:5", "[::1]:6"),
			"PROXY TCP6 ::ffff:192.0.2.1 ::1 5 6\r\n",
			sig + "\x21\x21\x00\x24" + strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x01" +
				strings.Repeat("\x00", 15) + "\x01" + "\x00\x05\x00\x06",
		},
		{"mapped", ends("[::ffff:192.0.2.1]:5", "192.0.2.2:6"), "PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", ""},
		{"zone", ends("[fe80::1%eth0]:5", "[fe80::2]:6"), "PROXY TCP6 fe80::1 fe80::2 5 6\r\n", ""},
		{"unknown", proxyproto.Header{}, "PROXY UNKNOWN\r\n", sig + "\x20\x00\x00\x00"},
		{"half known", proxyproto.Header{Source: netip.MustParseAddrPort("1.2.3.4:5")}, "PROXY UNKNOWN\r\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := string(tc.h.Append([]byte("x"), proxyproto.V1)); got != "x"+tc.v1 {
				t.Errorf("v1 %q, want %q", got, tc.v1)
			}
			if got := string(tc.h.Append(nil, proxyproto.V2)); tc.v2 != "" && got != tc.v2 {
				t.Errorf("v2 %q, want %q", got, tc.v2)
			}
			if got := tc.h.Append(nil, proxyproto.None); got != nil {
				t.Errorf("none %q", got)
			}
		})
	}
}

func TestParse(t *testing.T) {
	known := ends("1.2.3.4:5", "6.7.8.9:10")
	for _, tc := range []struct {
		name, in string
		h        proxyproto.Header
		err      error
	}{
		{"v1", "PROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\nrest", known, nil},
		{"v1 unknown with a tail", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", proxyproto.Header{}, nil},
		{"v1 cut", "PROXY TCP4 1.2.3.4", proxyproto.Header{}, proxyproto.ErrShort},
		{"v1 without end", "PROXY " + strings.Repeat("x", 200), proxyproto.Header{}, proxyproto.ErrMalformed},
		{"v1 wrong family", "PROXY TCP6 1.2.3.4 6.7.8.9 5 10\r\n", proxyproto.Header{}, proxyproto.ErrMalformed},
		{"v1 other family", "PROXY UDP4 1.2.3.4 6.7.8.9 5 10\r\n", proxyproto.Header{}, proxyproto.ErrMalformed},
		{"v1 port", "PROXY TCP4 1.2.3.4 6.7.8.9 05 10\r\n", proxyproto.Header{}, proxyproto.ErrMalformed},
		{"v1 port range", "PROXY TCP4 1.2.3.4 6.7.8.9 5 65536\r\n", proxyproto.Header{}, proxyproto.ErrMalformed},
		{"v1 nothing", "PROXY \r\n", proxyproto.Header{}, proxyproto.ErrMalformed},
		{"v2", sig + "\x21\x11\x00\x0c\x01\x02\x03\x04\x06\x07\x08\x09\x00\x05\x00\x0arest", known, nil},
		{"v2 with an extension", sig + "\x21\x11\x00\x10\x01\x02\x03\x04\x06\x07\x08\x09\x00\x05\x00\x0a\x04\x00\x01\x00", known, nil},
		{"v2 local with addresses", sig + "\x20\x11\x00\x0c\x01\x02\x03\x04\x06\x07\x08\x09\x00\x05\x00\x0a", proxyproto.Header{}, nil},
		{"v2 unix", sig + "\x21\x31\x00\x01x", proxyproto.Header{}, nil},
		{"v2 cut", sig + "\x21\x11\x00\x0c\x01", proxyproto.Header{}, proxyproto.ErrShort},
		{
			"v2 body too small", sig + "\x21\x21\x00\x0c\x01\x02\x03\x04\x06\x07\x08\x09\x00\x05\x00\x0a",
			proxyproto.Header{},
			proxyproto.ErrMalformed,
		},
		{"v2 body too large", sig + "\x21\x11\xff\xff", proxyproto.Header{}, proxyproto.ErrMalformed},
		{"v2 version", sig + "\x11\x11\x00\x00", proxyproto.Header{}, proxyproto.ErrMalformed},
		{"nothing", "", proxyproto.Header{}, proxyproto.ErrShort},
		{"something else", "SSH-2.0", proxyproto.Header{}, proxyproto.ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, n, err := proxyproto.Parse([]byte(tc.in))
			if h != tc.h || !errors.Is(err, tc.err) {
				t.Errorf("Parse = %+v, %d, %v, want %+v, %v", h, n, err, tc.h, tc.err)
			}
			if err == nil && strings.HasSuffix(tc.in, "rest") && tc.in[n:] != "rest" {
				t.Errorf("Parse took %d bytes", n)
			}
		})
	}
}

func TestParseVersion(t *testing.T) {
	for _, v := range []proxyproto.Version{proxyproto.None, proxyproto.V1, proxyproto.V2} {
		if got, err := proxyproto.ParseVersion(v.String()); got != v || err != nil {
			t.Errorf("ParseVersion(%q) = %v, %v", v, got, err)
		}
	}
	if _, err := proxyproto.ParseVersion("v3"); !errors.Is(err, proxyproto.ErrUnknownVersion) {
		t.Errorf("ParseVersion(v3): %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, h := range []proxyproto.Header{{}, ends("1.2.3.4:5", "6.7.8.9:10"), ends("[::1]:5", "6.7.8.9:10")} {
		f.Add(h.Append(nil, proxyproto.V1))
		f.Add(h.Append(nil, proxyproto.V2))
	}
	f.Add([]byte("PROXY TCP4 1.2.3.4"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := proxyproto.Parse(b)
		if err != nil {
			if !errors.Is(err, proxyproto.ErrShort) && !errors.Is(err, proxyproto.ErrMalformed) {
				t.Fatalf("Parse: %v", err)
			}
			return
		}
		if n > len(b) {
			t.Fatalf("Parse took %d of %d bytes", n, len(b))
		}
		for _, v := range []proxyproto.Version{proxyproto.V1, proxyproto.V2} {
			out := h.Append(nil, v)
			again, m, err := proxyproto.Parse(append(bytes.Clone(out), "tail"...))
			if err != nil || m != len(out) || again != h && h.Known() {
				t.Fatalf("%v: Parse(Append(%+v)) = %+v, %d, %v", v, h, again, m, err)
			}
			if len(out) > proxyproto.MaxHeader {
				t.Fatalf("header of %d bytes", len(out))
			}
			if _, _, err := proxyproto.Parse(out[:len(out)-1]); !errors.Is(err, proxyproto.ErrShort) {
				t.Fatalf("%v: cut header: %v", v, err)
			}
		}
	})
}
