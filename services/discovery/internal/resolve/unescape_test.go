package resolve

import (
	"testing"

	"github.com/miekg/dns"
)

// The text that a record carries comes back, whatever its bytes, through the library's own escaping.
func FuzzUnescape(f *testing.F) {
	f.Add([]byte(`[{"protocol":"quic"}]`))
	f.Add([]byte{0, '\\', '"', 0xff, '\\', '1', '2', '3'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 255 {
			return
		}
		// The wire form of a TXT record with one string.
		head := []byte{0, 0, byte(dns.TypeTXT), 0, 1, 0, 0, 0, 0, byte((len(raw) + 1) >> 8), byte(len(raw) + 1), byte(len(raw))}
		wire := append(head, raw...)
		rr, _, err := dns.UnpackRR(wire, 0)
		if err != nil {
			t.Fatalf("unpack %x: %v", wire, err)
		}
		if txt, ok := rr.(*dns.TXT); !ok || len(txt.Txt) != 1 || unescape(txt.Txt[0]) != string(raw) {
			t.Errorf("got %v, want %q", rr, raw)
		}
	})
}
