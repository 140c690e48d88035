package socks_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/socks"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type conn struct {
	io.Reader
	bytes.Buffer
}

func (c *conn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func TestAccept(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		to, rest string
		sent     string
		err      error
	}{
		{"IPv4", "050100 05010001 7f000001 0050", "127.0.0.1:80", "", "0500", nil},
		{"IPv6", "05020200 05010004 00000000000000000000000000000001 01bb", "[::1]:443", "", "0500", nil},
		{"name with early bytes", "050100 05010003 01 61 0016 5353", "a:22", "SS", "0500", nil},
		{
			"all at once, many methods", "05ff" + strings.Repeat("00", 255) + "05010003 ff" + strings.Repeat("61", 255) + "0016",
			strings.Repeat("a", 255) + ":22", "", "0500", nil,
		},
		{"version 4", "0401", "", "", "", socks.ErrVersion},
		{"version changes", "050100 04", "", "", "0500", socks.ErrVersion},
		{"password only", "050102", "", "", "05ff", socks.ErrMethod},
		{"no method", "0500", "", "", "05ff", socks.ErrMethod},
		{"bind", "050100 05020001 7f000001 0050", "", "", "0500 05070001000000000000", socks.ErrCommand},
		{"associate", "050100 05030001 7f000001 0050", "", "", "0500 05070001000000000000", socks.ErrCommand},
		{"address type", "050100 05010002 7f000001 0050", "", "", "0500 05080001000000000000", socks.ErrAddress},
		{"empty name", "050100 05010003 00 0050", "", "", "0500 05080001000000000000", socks.ErrAddress},
		{"nothing", "", "", "", "", io.ErrUnexpectedEOF},
		{"cut greeting", "0502", "", "", "", io.ErrUnexpectedEOF},
		{"cut request", "050100 050100", "", "", "0500", io.ErrUnexpectedEOF},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
			t.Run(tc.name, func(t *testing.T) {
				c := &conn{Reader: wrap(bytes.NewReader(unhex(t, tc.in)))}
				r, rest, err := socks.Accept(c)
				if !errors.Is(err, tc.err) || err == nil && r.To.String() != tc.to {
					t.Errorf("Accept = %+v, %v, want %s, %v", r, err, tc.to, tc.err)
				}
				after, _ := io.ReadAll(c.Reader)
				if got := string(rest) + string(after); err == nil && got != tc.rest {
					t.Errorf("bytes of the connection %q, want %q", got, tc.rest)
				}
				if got := hex.EncodeToString(c.Bytes()); got != strings.ReplaceAll(tc.sent, " ", "") {
					t.Errorf("sent %s, want %s", got, tc.sent)
				}
			})
		}
	}
}

func TestReply(t *testing.T) {
	for _, tc := range []struct {
		code socks.Reply
		a    socks.Address
		want string
	}{
		{socks.Succeeded, socks.AddressOf(netip.MustParseAddrPort("127.0.0.1:80")), "050000017f0000010050"},
		{socks.Refused, socks.AddressOf(netip.MustParseAddrPort("[::ffff:127.0.0.1]:80")), "050500017f0000010050"},
		{socks.NotAllowed, socks.AddressOf(netip.MustParseAddrPort("[fe80::1%x]:80")), "05020004fe8000000000000000000000000000010050"},
		{socks.HostUnreachable, socks.Address{Name: "ab", Port: 1}, "05040003026162" + "0001"},
		{socks.BadCommand, socks.Address{}, "05070001000000000000"},
	} {
		if got := hex.EncodeToString(socks.AppendReply(nil, tc.code, tc.a)); got != tc.want {
			t.Errorf("AppendReply(%d, %v) = %s, want %s", tc.code, tc.a, got, tc.want)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add(unhex(f, "050100017f0000010050"))
	f.Add(unhex(f, "0501000301610016"))
	f.Add(unhex(f, "05010004000000000000000000000000000000010050"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := socks.ParseRequest(b)
		if err != nil {
			if errors.Is(err, socks.ErrShort) && len(b) >= socks.MaxRequest {
				t.Fatal("a request that never ends")
			}
			return
		}
		// A reply has the layout of a request, so it must read the same.
		again, m, err := socks.ParseRequest(socks.AppendReply(nil, socks.Reply(r.Command), r.To))
		if err != nil || again.To.Name != r.To.Name || again.To.IP != r.To.IP.Unmap() || again.To.Port != r.To.Port || m > n {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

func FuzzGreeting(f *testing.F) {
	f.Add(unhex(f, "050100"))
	f.Add(unhex(f, "05020201 0501"))
	f.Add(unhex(f, "0500"))
	f.Add(unhex(f, "0401"))
	f.Fuzz(func(t *testing.T, b []byte) {
		open, n, err := socks.ParseGreeting(b)
		if err != nil {
			if errors.Is(err, socks.ErrShort) && len(b) >= socks.MaxGreeting {
				t.Fatal("a greeting that never ends")
			}
			return
		}
		if n > len(b) || open != bytes.Contains(b[2:n], []byte{0}) {
			t.Fatalf("ParseGreeting(%x) = %v, %d", b, open, n)
		}
		for i := range n { // every part of it asks for more
			if _, _, err := socks.ParseGreeting(b[:i]); !errors.Is(err, socks.ErrShort) {
				t.Fatalf("%d bytes of %x: %v", i, b, err)
			}
		}
	})
}

func FuzzAccept(f *testing.F) {
	f.Add(unhex(f, "050100050100017f0000010050"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &conn{Reader: bytes.NewReader(b)}
		if _, rest, err := socks.Accept(c); err == nil && len(rest) > len(b) {
			t.Fatal("more bytes than came")
		}
	})
}
