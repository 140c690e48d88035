package websocket_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHeader(t *testing.T) {
	key := [4]byte{1, 2, 3, 4}
	for _, tc := range []struct {
		h    websocket.Header
		want string
	}{
		{websocket.Header{Fin: true, Opcode: websocket.Binary, Length: 5}, "8205"},
		{websocket.Header{Opcode: websocket.Text, Length: 125}, "017d"},
		{websocket.Header{Fin: true, Opcode: websocket.Binary, Length: 126}, "827e007e"},
		{websocket.Header{Fin: true, Opcode: websocket.Binary, Length: 65535}, "827effff"},
		{websocket.Header{Fin: true, Opcode: websocket.Binary, Length: 65536}, "827f0000000000010000"},
		{websocket.Header{Fin: true, Opcode: websocket.Binary, Masked: true, Key: key, Length: 5}, "828501020304"},
		{websocket.Header{Opcode: websocket.Continuation, Masked: true, Key: key, Length: 16385}, "00fe400101020304"},
	} {
		b := tc.h.Append(nil)
		if got := hex.EncodeToString(b); got != tc.want {
			t.Errorf("Append(%+v) = %s, want %s", tc.h, got, tc.want)
		}
		h, n, err := websocket.ParseHeader(append(b, "rest"...))
		if h != tc.h || n != len(b) || err != nil {
			t.Errorf("ParseHeader(%s) = %+v, %d, %v", tc.want, h, n, err)
		}
		for i := range b {
			if _, _, err := websocket.ParseHeader(b[:i]); !errors.Is(err, websocket.ErrShort) {
				t.Errorf("ParseHeader(%x): %v", b[:i], err)
			}
		}
	}
}

func TestMask(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	for size := range 70 {
		for offset := range uint64(9) {
			b := bytes.Repeat([]byte{0x55}, size)
			websocket.Mask(b, key, offset)
			for i, c := range b {
				if want := 0x55 ^ key[(offset+uint64(i))%4]; c != want {
					t.Fatalf("Mask at offset %d: byte %d is %x, want %x", offset, i, c, want)
				}
			}
		}
	}
}

func TestAcceptKey(t *testing.T) {
	if got := websocket.AcceptKey("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("AcceptKey = %s", got)
	}
}

func TestClose(t *testing.T) {
	for _, tc := range []struct {
		in     string
		code   websocket.Code
		reason string
		bad    bool
	}{
		{"", websocket.CodeNone, "", false},
		{"03e8", websocket.CodeNormal, "", false},
		{"03e9 627965", websocket.CodeGoingOff, "bye", false},
		{"0bb8", 3000, "", false},
		{"1387", 4999, "", false},
		{"03", 0, "", true},
		{"03e7", 0, "", true},
		{"03ed", 0, "", true},
		{"03ee", 0, "", true},
		{"03ec", 0, "", true},
		{"03f7", 0, "", true},
		{"07d0", 0, "", true},
		{"1388", 0, "", true},
		{"03e8 ff", 0, "", true},
	} {
		code, reason, err := websocket.ParseClose(unhex(t, tc.in))
		if code != tc.code || reason != tc.reason || (err != nil) != tc.bad {
			t.Errorf("ParseClose(%s) = %d, %q, %v", tc.in, code, reason, err)
		}
		if err == nil {
			if got := websocket.AppendClose(nil, code, reason); !bytes.Equal(got, unhex(t, tc.in)) {
				t.Errorf("AppendClose(%d, %q) = %x", code, reason, got)
			}
		}
	}
	long := websocket.AppendClose(nil, websocket.CodeNormal, strings.Repeat("é", 100))
	if _, reason, err := websocket.ParseClose(long); len(long) > websocket.MaxControl || err != nil || reason != strings.Repeat("é", 61) {
		t.Errorf("long reason: %d bytes, %q, %v", len(long), reason, err)
	}
}

// decode feeds the bytes in pieces of the given size and shows what came out.
func decode(t testing.TB, client bool, in []byte, piece int) (text string, unfinished bool, err error) {
	t.Helper()
	d := websocket.Decoder{Client: client}
	var out strings.Builder
	var message []byte
	for len(in) > 0 {
		part := bytes.Clone(in[:min(piece, len(in))])
		in = in[len(part):]
		for len(part) > 0 {
			ev, n, err := d.Next(part)
			if err != nil {
				if _, _, again := d.Next(part); !errors.Is(again, err) {
					t.Errorf("error is not sticky: %v, then %v", err, again)
				}
				return out.String(), d.InMessage(), err
			}
			if n == 0 && ev.Kind != websocket.Data {
				t.Fatal("no progress")
			}
			part = part[n:]
			switch ev.Kind {
			case websocket.Data:
				message = append(message, ev.Payload...)
				if ev.Last {
					out.WriteString(map[websocket.Opcode]string{1: "text", 2: "binary"}[ev.Opcode] + ":" + string(message) + " ")
					message = nil
				}
			case websocket.Control:
				out.WriteString(map[websocket.Opcode]string{8: "close", 9: "ping", 10: "pong"}[ev.Opcode] + ":" + string(ev.Payload) + " ")
			case websocket.More:
			}
		}
	}
	return out.String(), d.InMessage(), nil
}

func TestDecoder(t *testing.T) {
	const maxPing = "89fd01020304"
	for _, tc := range []struct {
		name   string
		client bool
		in     string
		want   string
		cut    bool
		bad    bool
	}{
		{"binary", true, "82850102030469676f686e", "binary:hello ", false, false},
		{"text", true, "81840102030475677b70", "text:text ", false, false},
		{"fragments", true, "0283010203046e6c66 80830102030475756c", "binary:onetwo ", false, false},
		{"ping between fragments", true, "0283010203046e6c66 89800000 0000 80830102030475756c", "ping: binary:onetwo ", false, false},
		{"empty message", true, "828000000000", "binary: ", false, false},
		{"empty fragments", true, "028000000000 008000000000 808000000000", "binary: ", false, false},
		{"close", true, "88820102030402ea", "close:\x03\xe8 ", false, false},
		{"largest ping", true, maxPing + strings.Repeat("01020304", 31) + "01", "ping:" + strings.Repeat("\x00", 125) + " ", false, false},
		{"of a server", false, "820568656c6c6f 880203e8", "binary:hello close:\x03\xe8 ", false, false},
		{"cut header", true, "82", "", true, false},
		{"cut payload", true, "8285010203046967", "", true, false},
		{"unmasked", true, "820568656c6c6f", "", false, true},
		{"masked by a server", false, "828501020304", "", false, true},
		{"reserved bit", true, "c285", "", false, true},
		{"reserved opcode", true, "8385", "", false, true},
		{"reserved control opcode", true, "8b80", "", false, true},
		{"fragmented ping", true, "0980", "", false, true},
		{"long ping", true, "89fe", "", false, true},
		{"continuation of nothing", true, "808000000000", "", false, true},
		{"message in a message", true, "028000000000 828000000000", "", true, true},
		{"length of 2^63", true, "82ff8000000000000000 00000000", "", true, true},
		{"an HTTP request", true, hex.EncodeToString([]byte("GET / HTTP/1.1\r\n\r\n")), "", true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for piece := 1; piece < 20; piece++ {
				got, cut, err := decode(t, tc.client, unhex(t, tc.in), piece)
				if got != tc.want || errors.Is(err, websocket.ErrProtocol) != tc.bad || err == nil && cut != tc.cut {
					t.Errorf("in pieces of %d: %q, cut %v, %v", piece, got, cut, err)
				}
			}
		})
	}
}

func FuzzDecoder(f *testing.F) {
	for _, s := range []string{
		"82850102030469676f686e", "0283010203046e6c6680830102030475756c", "88820102030402ea", "820568656c6c6f880203e8", "82fe4001", "89fd",
	} {
		f.Add(unhex(f, s), true, uint8(3))
		f.Add(unhex(f, s), false, uint8(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, client bool, piece uint8) {
		whole, cut, err := decode(t, client, b, max(len(b), 1))
		parts, cut2, err2 := decode(t, client, b, max(int(piece), 1))
		if (err == nil) != (err2 == nil) || whole != parts || err == nil && cut != cut2 {
			t.Fatalf("whole: %q, %v, %v; in pieces of %d: %q, %v, %v", whole, cut, err, piece, parts, cut2, err2)
		}
		if err != nil && !errors.Is(err, websocket.ErrProtocol) {
			t.Fatal(err)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte{0x82, 0xfe, 0x40, 1, 1, 2, 3, 4})
	f.Add([]byte{0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := websocket.ParseHeader(b)
		if err != nil {
			return
		}
		again, m, err := websocket.ParseHeader(h.Append(nil))
		if again != h || m > n || err != nil {
			t.Fatalf("ParseHeader(Append(%+v)) = %+v, %d, %v", h, again, m, err)
		}
	})
}

func BenchmarkDecoder(b *testing.B) {
	frame := websocket.AppendMasked(nil, websocket.Binary, [4]byte{1, 2, 3, 4}, make([]byte, 32<<10))
	b.SetBytes(int64(len(frame)))
	d := websocket.Decoder{Client: true}
	buf := make([]byte, len(frame))
	for b.Loop() {
		copy(buf, frame)
		for rest := buf; len(rest) > 0; {
			_, n, err := d.Next(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}
