package datagram_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

func FuzzParseV2(f *testing.F) {
	for _, v := range loadVectors[v2Vector](f, "datagram_v2") {
		f.Add(unhex(f, v.Hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := datagram.ParseV2(b)
		if err != nil {
			return
		}
		if d.Type == datagram.V2UDP {
			if out := datagram.AppendV2UDP(nil, d.ID, d.Data); !bytes.Equal(out, b) {
				t.Fatalf("append(parse(x)) = %x, want %x", out, b)
			}
			return
		}
		if out, err := d.Append(nil); len(b) <= datagram.V2MaxDatagram && (err != nil || !bytes.Equal(out, b)) {
			t.Fatalf("append(parse(x)) = %x, %v, want %x", out, err, b)
		}
	})
}

func FuzzParseV3(f *testing.F) {
	for _, v := range loadVectors[v3Vector](f, "datagram_v3") {
		f.Add(unhex(f, v.Hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseV3(b)
		if err != nil {
			return
		}
		var out []byte
		switch d := d.(type) {
		case datagram.Registration:
			if len(d.Payload) > 1306 {
				return // the decoder accepts what the encoder rejects
			}
			out, err = d.Append(nil)
		case payload:
			out, err = datagram.AppendPayload(nil, d.id, d.data)
		case []byte:
			out, err = datagram.AppendICMP(nil, d)
		case datagram.Response:
			out, err = d.Append(nil)
		}
		if err != nil {
			t.Fatalf("append(parse(%x)): %v", b, err)
		}
		again, err := parseV3(out)
		if diff := cmp.Diff(d, again, cmpopts.EquateEmpty(), addrPorts, cmp.AllowUnexported(payload{})); err != nil || diff != "" {
			t.Fatalf("parse(append(x)): %v (-x +got):\n%s", err, diff)
		}
	})
}

func FuzzParseTracingText(f *testing.F) {
	f.Add("1241ce3ecdefc68854e8514e69ba42ca:b38f1bf5eae406f3:0:1")
	f.Add("1:2:0:ff")
	f.Add("1241ce3ecdefc68854e8514e69ba42caAB:1:0:1")
	f.Fuzz(func(t *testing.T, s string) {
		tr, err := datagram.ParseTracingText(s)
		if err != nil {
			return
		}
		if again, err := datagram.ParseTracingText(tr.String()); err != nil || again != tr {
			t.Fatalf("%q reads as %v, and that as %v, %v", s, tr, again, err)
		}
		if again, err := datagram.ParseTracing(tr.Append(nil)); err != nil || again != tr {
			t.Fatalf("binary form of %v reads as %v, %v", tr, again, err)
		}
	})
}
