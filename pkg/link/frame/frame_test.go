package frame_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/link/frame"
)

func ids() (t, c [16]byte) {
	for i := range t {
		t[i], c[i] = byte(i), byte(0xf0|i)
	}
	return t, c
}

// The golden bytes pin the layout: a proxy and a worker of different releases must agree.
func TestGolden(t *testing.T) {
	tun, con := ids()
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{
			"hello", frame.AppendHello(nil, frame.HelloInfo{Version: 1, MaxFrame: 0xffff, Credit: 2, Features: 3, Instance: "ab"}),
			"00 00 0012 00000000 01 00 ffff 00000002 0000000000000003 6162",
		},
		{
			"open", frame.AppendOpen(nil, 7, frame.OpenInfo{Kind: 1, Tunnel: tun, Connector: con, Index: 3}),
			"01 00 002e 00000007 01 0001 01 02 0010 000102030405060708090a0b0c0d0e0f 03 0010 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff 04 0001 03",
		},
		{
			"open of a repeat", frame.AppendOpen(nil, 7, frame.OpenInfo{Kind: 1, Tunnel: tun, Connector: con, Index: 3, Repeat: true}),
			"01 00 0032 00000007 01 0001 01 02 0010 000102030405060708090a0b0c0d0e0f 03 0010 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff 04 0001 03" +
				" 07 0001 01",
		},
		{"data", frame.AppendData(nil, 7, []byte("hi"), false), "02 00 0002 00000007 6869"},
		{"data fin", frame.AppendData(nil, 7, nil, true), "02 01 0000 00000007"},
		{"reset", frame.AppendCode(nil, frame.Reset, 7, 9), "03 00 0004 00000007 00000009"},
		{"stop", frame.AppendCode(nil, frame.Stop, 7, 0), "04 00 0004 00000007 00000000"},
		{"ping", frame.AppendPing(nil, frame.Ping, [8]byte{1, 2, 3, 4, 5, 6, 7, 8}), "06 00 0008 00000000 0102030405060708"},
		{"goaway", frame.AppendGoAway(nil, frame.GoAwayInfo{Last: 4, Reason: 1}), "08 00 0008 00000000 00000004 00000001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.ReplaceAll(tt.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(tt.got, want) {
				t.Errorf("got %x, want %x", tt.got, want)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	tun, con := ids()
	for _, repeat := range []bool{false, true} {
		open := frame.OpenInfo{Kind: 2, Tunnel: tun, Connector: con, Index: 255, Repeat: repeat}
		b := frame.AppendOpen(nil, 1, open)
		got, err := frame.ParseOpen(b[frame.HeaderSize:])
		if err != nil || got != open {
			t.Errorf("ParseOpen = %+v, %v, want %+v", got, err, open)
		}
		if len(b) > frame.OpenSize {
			t.Errorf("OPEN of %d bytes, OpenSize is %d", len(b), frame.OpenSize)
		}
	}
	hello := frame.HelloInfo{Version: 1, Mode: frame.Shared, MaxFrame: 1, Credit: 2, Features: 1 << 40, Instance: "proxy-1"}
	gotHello, err := frame.ParseHello(frame.AppendHello(nil, hello)[frame.HeaderSize:])
	if err != nil || gotHello != hello {
		t.Errorf("ParseHello: %v %s", err, cmp.Diff(gotHello, hello))
	}
	away := frame.GoAwayInfo{Last: 8, Reason: 3}
	gotAway, err := frame.ParseGoAway(frame.AppendGoAway(nil, away)[frame.HeaderSize:])
	if err != nil || gotAway != away {
		t.Errorf("ParseGoAway = %+v, %v, want %+v", gotAway, err, away)
	}
}

func TestUnknownOpenEntriesAreSkipped(t *testing.T) {
	got, err := frame.ParseOpen([]byte{5, 0, 3, 'a', 'b', 'c', 4, 0, 1, 2, 99, 0, 0})
	if err != nil || got != (frame.OpenInfo{Index: 2}) {
		t.Errorf("ParseOpen = %+v, %v", got, err)
	}
}

func TestMalformed(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"short header", second(frame.ParseHeader(make([]byte, 7))), frame.ErrShort},
		{"unknown type", second(frame.ParseHeader([]byte{9, 0, 0, 0, 0, 0, 0, 0})), frame.ErrMalformed},
		{"open entry header", second(frame.ParseOpen([]byte{1, 0})), frame.ErrMalformed},
		{"open entry value", second(frame.ParseOpen([]byte{1, 0, 2, 0})), frame.ErrMalformed},
		{"open tunnel too long", second(frame.ParseOpen(append([]byte{2, 0, 17}, make([]byte, 17)...))), frame.ErrMalformed},
		{"open kind of two bytes", second(frame.ParseOpen([]byte{1, 0, 2, 0, 0})), frame.ErrMalformed},
		{"open repeat of no bytes", second(frame.ParseOpen([]byte{7, 0, 0})), frame.ErrMalformed},
		{"hello short", second(frame.ParseHello(make([]byte, 15))), frame.ErrMalformed},
		{"hello long", second(frame.ParseHello(make([]byte, 81))), frame.ErrMalformed},
		{"code", second(frame.ParseCode(make([]byte, 3))), frame.ErrMalformed},
		{"ping", second(frame.ParsePing(make([]byte, 7))), frame.ErrMalformed},
		{"goaway", second(frame.ParseGoAway(make([]byte, 7))), frame.ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !errors.Is(tt.err, tt.want) {
				t.Errorf("got %v, want %v", tt.err, tt.want)
			}
		})
	}
}

func second[T any](_ T, err error) error { return err }

// FuzzFrame: no input makes a parser panic, and what parses is written back to something that parses to the same.
func FuzzFrame(f *testing.F) {
	tun, con := ids()
	f.Add(frame.AppendHello(nil, frame.HelloInfo{Version: 1, Instance: "x"}))
	f.Add(frame.AppendOpen(nil, 1, frame.OpenInfo{Tunnel: tun, Connector: con}))
	f.Add(frame.AppendOpen(nil, 1, frame.OpenInfo{Tunnel: tun, Repeat: true}))
	f.Add(frame.AppendData(nil, 1, []byte("payload"), true))
	f.Add(frame.AppendCode(nil, frame.Stop, 1, 0))
	f.Add(frame.AppendPing(nil, frame.Pong, [8]byte{}))
	f.Add(frame.AppendGoAway(nil, frame.GoAwayInfo{Last: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := frame.ParseHeader(b)
		if err != nil {
			return
		}
		if got := h.Append(nil); !bytes.Equal(got, b[:frame.HeaderSize]) {
			t.Fatalf("header %x written back as %x", b[:frame.HeaderSize], got)
		}
		p := b[frame.HeaderSize:]
		p = p[:min(len(p), int(h.Length))]
		switch h.Type {
		case frame.Hello:
			if v, err := frame.ParseHello(p); err == nil {
				if again, err := frame.ParseHello(frame.AppendHello(nil, v)[frame.HeaderSize:]); err != nil || again != v {
					t.Fatalf("hello %+v became %+v, %v", v, again, err)
				}
			}
		case frame.Open:
			if v, err := frame.ParseOpen(p); err == nil {
				if again, err := frame.ParseOpen(frame.AppendOpen(nil, h.Stream, v)[frame.HeaderSize:]); err != nil || again != v {
					t.Fatalf("open %+v became %+v, %v", v, again, err)
				}
			}
		case frame.GoAway:
			_, _ = frame.ParseGoAway(p)
		case frame.Ping, frame.Pong:
			_, _ = frame.ParsePing(p)
		default:
			_, _ = frame.ParseCode(p)
		}
	})
}
