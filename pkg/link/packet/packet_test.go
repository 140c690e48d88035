package packet_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

var (
	id        = datagram.ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	addrPorts = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
)

const idHex = "0102030405060708090a0b0c0d0e0f10"

// golden are messages with their bytes.
var golden = map[string]struct {
	m   packet.Message
	hex string
}{
	"register v4": {packet.Message{
		Type: packet.Register, ID: id, WantResult: true, Idle: 5 * time.Second,
		Dest: netip.MustParseAddrPort("198.51.100.7:53"), Data: []byte("ab"),
	}, "001f" + "01" + idHex + "01" + "00001388" + "04" + "c6336407" + "0035" + "6162"},
	"register v6": {packet.Message{
		Type: packet.Register, ID: id, Dest: netip.MustParseAddrPort("[2001:db8::7]:5353"),
	}, "0029" + "01" + idHex + "00" + "00000000" + "10" + "20010db8000000000000000000000007" + "14e9"},
	"payload":       {packet.Message{Type: packet.Payload, ID: id, Data: []byte("hello")}, "0016" + "02" + idHex + "68656c6c6f"},
	"payload empty": {packet.Message{Type: packet.Payload, ID: id}, "0011" + "02" + idHex},
	"unregister":    {packet.Message{Type: packet.Unregister, ID: id, Text: "bye"}, "0014" + "03" + idHex + "627965"},
	"icmp":          {packet.Message{Type: packet.ICMP, Data: []byte{0x45, 0}}, "0003" + "04" + "4500"},
	"registered": {
		packet.Message{Type: packet.Registered, ID: id, Result: datagram.ResultTooManyFlows, Text: "no"},
		"0014" + "05" + idHex + "03" + "6e6f",
	},
	"ended":   {packet.Message{Type: packet.Ended, ID: id}, "0011" + "06" + idHex},
	"unknown": {packet.Message{Type: packet.Unknown, ID: id}, "0011" + "07" + idHex},
}

func diff(a, b packet.Message) string { return cmp.Diff(a, b, cmpopts.EquateEmpty(), addrPorts) }

func TestGolden(t *testing.T) {
	for name, c := range golden {
		t.Run(name, func(t *testing.T) {
			b, err := c.m.Append([]byte("kept"))
			if err != nil || hex.EncodeToString(b[4:]) != c.hex {
				t.Fatalf("Append = %x, %v, want %s", b[4:], err, c.hex)
			}
			b = b[4:]
			var got packet.Message
			n, err := packet.Parse(append(b, "next"...), &got)
			if d := diff(c.m, got); err != nil || n != len(b) || d != "" {
				t.Errorf("Parse = %d, %v, want %d (-want +got):\n%s", n, err, len(b), d)
			}
			for cut := range b {
				if n, err := packet.Parse(b[:cut], &got); !errors.Is(err, packet.ErrShort) || n <= cut {
					t.Errorf("Parse of %d bytes = %d, %v, want ErrShort and more", cut, n, err)
				}
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	for name, text := range map[string]string{
		"no type":                "0000",
		"payload with short id":  "0010" + "02" + idHex[:30],
		"register without rest":  "0011" + "01" + idHex,
		"register with 5 bytes":  "001e" + "01" + idHex + "00" + "00000000" + "05" + "c633640701" + "0035",
		"register without port":  "001c" + "01" + idHex + "00" + "00000000" + "04" + "c6336407" + "00",
		"registered, no result":  "0011" + "05" + idHex,
		"unregister, half an id": "0009" + "03" + idHex[:16],
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		var m packet.Message
		if n, err := packet.Parse(b, &m); !errors.Is(err, packet.ErrMalformed) {
			t.Errorf("%s: Parse = %d, %v, want ErrMalformed", name, n, err)
		}
	}
}

func TestUnknownTypesAreSkipped(t *testing.T) {
	var m packet.Message
	if n, err := packet.Parse([]byte{0, 2, 99, 1}, &m); n != 4 || err != nil || m.Type != 99 {
		t.Errorf("Parse = %d, %v, %+v, want 4 and type 99", n, err, m)
	}
}

func TestAppendRejectsInvalidMessages(t *testing.T) {
	for name, c := range map[string]struct {
		m    packet.Message
		want error
	}{
		"type":           {packet.Message{Type: 9}, packet.ErrMalformed},
		"no destination": {packet.Message{Type: packet.Register}, datagram.ErrAddress},
		"zone":           {packet.Message{Type: packet.Register, Dest: netip.MustParseAddrPort("[fe80::1%a]:1")}, datagram.ErrAddress},
		"large":          {packet.Message{Type: packet.ICMP, Data: make([]byte, 0xffff)}, packet.ErrTooLarge},
	} {
		if b, err := c.m.Append([]byte("kept")); !errors.Is(err, c.want) || string(b) != "kept" {
			t.Errorf("%s: Append = %d bytes, %v, want %v and nothing added", name, len(b), err, c.want)
		}
	}
}

func TestTextsAndTimesAreClipped(t *testing.T) {
	m := packet.Message{Type: packet.Ended, Text: strings.Repeat("e", 70000)}
	b, err := m.Append(nil)
	var got packet.Message
	if _, perr := packet.Parse(b, &got); err != nil || perr != nil || len(got.Text) != packet.MaxText {
		t.Errorf("text of %d bytes, errors %v and %v, want %d", len(got.Text), err, perr, packet.MaxText)
	}
	for in, want := range map[time.Duration]time.Duration{
		time.Microsecond: time.Millisecond, -1: 0, 0: 0, 1 << 62: 0xffffffff * time.Millisecond,
	} {
		m := packet.Message{Type: packet.Register, Dest: netip.MustParseAddrPort("192.0.2.1:1"), Idle: in}
		b, _ := m.Append(nil)
		if _, err := packet.Parse(b, &got); err != nil || got.Idle != want {
			t.Errorf("idle %d was parsed as %s, %v, want %s", in, got.Idle, err, want)
		}
	}
}

// readAll cuts a stream into messages, each cloned.
func readAll(t testing.TB, src interface{ Read([]byte) (int, error) }) ([]packet.Message, *packet.Reader, error) {
	t.Helper()
	var (
		r   packet.Reader
		out []packet.Message
		err error
	)
	for err == nil {
		space := r.Space()
		if len(space) == 0 {
			t.Fatal("no space")
		}
		var n int
		n, err = src.Read(space)
		r.Add(n)
		for {
			var m packet.Message
			ok, perr := r.Next(&m)
			if perr != nil {
				return out, &r, perr
			}
			if !ok {
				break
			}
			m.Data = bytes.Clone(m.Data)
			out = append(out, m)
		}
	}
	return out, &r, nil
}

func TestReader(t *testing.T) {
	var want []packet.Message
	for _, size := range []int{0, 1, 5, 1280, 60000, 65518, 3, 16000, 20000, 1} {
		want = append(want, packet.Message{Type: packet.Payload, ID: id, Data: bytes.Repeat([]byte{byte(size)}, size)})
	}
	var b []byte
	for i := range want {
		b, _ = want[i].Append(b)
	}
	for name, src := range map[string]interface{ Read([]byte) (int, error) }{
		"whole": bytes.NewReader(b), "bytes": iotest.OneByteReader(bytes.NewReader(b)), "halves": iotest.HalfReader(bytes.NewReader(b)),
	} {
		got, r, err := readAll(t, src)
		if i := firstDifference(want, got); err != nil || i >= 0 {
			t.Errorf("%s: %v, %d messages, want %d; the first difference is in %d", name, err, len(got), len(want), i)
		}
		if r.Partial() {
			t.Errorf("%s: a partial message at the end", name)
		}
	}
	_, r, err := readAll(t, bytes.NewReader(b[:len(b)-1]))
	if err != nil || !r.Partial() {
		t.Errorf("cut stream: %v, partial %v, want true", err, r.Partial())
	}
}

// firstDifference gives the index of the first message that differs, or -1. It is faster than cmp for many messages.
func firstDifference(a, b []packet.Message) int {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || !bytes.Equal(a[i].Data, b[i].Data) {
			return i
		}
		x, y := a[i], b[i]
		x.Data, y.Data = nil, nil
		if diff(x, y) != "" {
			return i
		}
	}
	return -1
}

func FuzzParse(f *testing.F) {
	for _, c := range golden {
		b, _ := hex.DecodeString(c.hex)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again packet.Message
		n, err := packet.Parse(b, &m)
		if err != nil {
			if errors.Is(err, packet.ErrShort) && n <= len(b) {
				t.Fatalf("ErrShort with %d of %d bytes", n, len(b))
			}
			return
		}
		if m.Type < packet.Register || m.Type > packet.Ended || len(m.Text) > packet.MaxText {
			return
		}
		out, err := m.Append(nil)
		if err != nil {
			t.Fatalf("Append of a parsed message: %v", err)
		}
		if n, err := packet.Parse(out, &again); err != nil || n != len(out) || diff(m, again) != "" {
			t.Fatalf("parse(append(x)) = %d, %v (-x +got):\n%s", n, err, diff(m, again))
		}
	})
}

func FuzzReader(f *testing.F) {
	var all []byte
	for _, c := range golden {
		b, _ := hex.DecodeString(c.hex)
		all = append(all, b...)
	}
	f.Add(all, uint16(7))
	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		whole, _, err1 := readAll(t, bytes.NewReader(b))
		parts, _, err2 := readAll(t, &stepReader{b, int(step)%4096 + 1})
		if i := firstDifference(whole, parts); i >= 0 || (err1 == nil) != (err2 == nil) {
			t.Fatalf("in steps of %d: %v and %v, the first difference is in %d", step, err1, err2, i)
		}
	})
}

// stepReader gives at most step bytes at a time.
type stepReader struct {
	b    []byte
	step int
}

func (r *stepReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, errors.New("end")
	}
	n := copy(p, r.b[:min(r.step, len(r.b))])
	r.b = r.b[n:]
	return n, nil
}

func BenchmarkPayload(b *testing.B) {
	m := packet.Message{Type: packet.Payload, ID: id, Data: make([]byte, 1200)}
	var (
		buf []byte
		got packet.Message
	)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = m.Append(buf[:0])
		if _, err := packet.Parse(buf, &got); err != nil {
			b.Fatal(err)
		}
	}
}
