package stream_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// bodyOf lays out data and trailers as a framed body; nil trailers make no frame.
func bodyOf(t testing.TB, trailers []stream.Pair, data ...string) []byte {
	t.Helper()
	var b []byte
	for _, d := range data {
		b = append(stream.AppendDataHeader(b, len(d)), d...)
	}
	if trailers != nil {
		var err error
		b, err = stream.AppendTrailers(b, trailers)
		must(t, err)
	}
	return b
}

func TestFrameLayout(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"data", bodyOf(t, nil, "hello"), "0000000568656c6c6f"},
		{"empty data", bodyOf(t, nil, ""), "00000000"},
		{"trailers", bodyOf(t, []stream.Pair{{Key: "Grpc-Status", Val: "0"}}), "01000010" + "000b477270632d537461747573" + "000130"},
		{"no trailers", bodyOf(t, []stream.Pair{}), "01000000"},
		{"large", stream.AppendDataHeader(nil, stream.MaxFrameData), "00ffffff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := hex.EncodeToString(tt.got); got != tt.want {
				t.Errorf("bytes = %s, want %s", got, tt.want)
			}
		})
	}
}

// deframe feeds b in pieces of the given size.
func deframe(b []byte, size int) (data string, d *stream.Deframer, err error) {
	d = &stream.Deframer{}
	var out []byte
	for len(b) > 0 {
		piece := b[:min(size, len(b))]
		b = b[len(piece):]
		for len(piece) > 0 {
			part, used, err := d.Next(piece)
			out = append(out, part...)
			if err != nil {
				return string(out), d, err
			}
			piece = piece[used:]
		}
	}
	return string(out), d, d.End()
}

func TestDeframer(t *testing.T) {
	trailers := []stream.Pair{{Key: "Grpc-Status", Val: "0"}, {Key: "A", Val: ""}, {Key: "A", Val: "b\xff"}}
	for _, tt := range []struct {
		name     string
		body     []byte
		data     string
		trailers []stream.Pair
		err      error
	}{
		{"nothing", nil, "", nil, nil},
		{"data", bodyOf(t, nil, "hello", " ", "world"), "hello world", nil, nil},
		{"empty frames", bodyOf(t, nil, "", "a", "", "b", ""), "ab", nil, nil},
		{"trailers only", bodyOf(t, trailers), "", trailers, nil},
		{"no pairs", bodyOf(t, []stream.Pair{}, "a"), "a", nil, nil},
		{"both", bodyOf(t, trailers, strings.Repeat("x", 70000)), strings.Repeat("x", 70000), trailers, nil},
		{"cut header", bodyOf(t, nil, "a")[:3], "", nil, stream.ErrFrameCut},
		{"cut data", bodyOf(t, nil, "abc")[:6], "ab", nil, stream.ErrFrameCut},
		{"cut trailers", bodyOf(t, trailers)[:9], "", nil, stream.ErrFrameCut},
		{"unknown type", append(bodyOf(t, nil, "a"), 2, 0, 0, 0), "a", nil, stream.ErrMalformed},
		{"data after trailers", append(bodyOf(t, trailers), bodyOf(t, nil, "a")...), "", trailers, stream.ErrMalformed},
		{"trailers twice", append(bodyOf(t, trailers), bodyOf(t, trailers)...), "", trailers, stream.ErrMalformed},
		{"trailers too long", []byte{1, 1, 0, 1}, "", nil, stream.ErrTooLarge},
		{"bad pair", []byte{1, 0, 0, 3, 0, 9, 'a'}, "", nil, stream.ErrMalformed},
		{"empty name", []byte{1, 0, 0, 4, 0, 0, 0, 0}, "", nil, stream.ErrMalformed},
		{"value missing", []byte{1, 0, 0, 3, 0, 1, 'a'}, "", nil, stream.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 5, 1000, len(tt.body) + 1} {
				data, d, err := deframe(bytes.Clone(tt.body), size)
				if data != tt.data || !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
					t.Errorf("pieces of %d: %d bytes %.40q, %v, want %d bytes %.40q, %v", size, len(data), data, err, len(tt.data), tt.data, tt.err)
				}
				if diff := cmp.Diff(tt.trailers, d.Trailers()); diff != "" {
					t.Errorf("pieces of %d: trailers (-want +got):\n%s", size, diff)
				}
				if want := tt.trailers != nil || tt.name == "no pairs"; err == nil && d.Ended() != want {
					t.Errorf("pieces of %d: Ended() = %t, want %t", size, d.Ended(), want)
				}
			}
		})
	}
}

func TestDeframerStrip(t *testing.T) {
	var d stream.Deframer
	p := bodyOf(t, []stream.Pair{{Key: "A", Val: "1"}}, "one ", "two ", "three")
	n, err := d.Strip(p)
	if got := string(p[:n]); err != nil || got != "one two three" {
		t.Errorf("Strip = %q, %v", got, err)
	}
	if n, err := d.Strip([]byte{0}); n != 0 || !errors.Is(err, stream.ErrMalformed) {
		t.Errorf("Strip after the trailers = %d, %v, want an error", n, err)
	}
	if err := d.End(); !errors.Is(err, stream.ErrMalformed) {
		t.Errorf("End() = %v, want the fault before", err)
	}
	if d.Ended() {
		t.Error("Ended() after a fault")
	}
}

func TestAppendTrailersLimits(t *testing.T) {
	long := strings.Repeat("v", 1<<16-1)
	for _, tt := range []struct {
		name  string
		pairs []stream.Pair
		want  error
	}{
		{"largest", []stream.Pair{{Key: "a", Val: strings.Repeat("v", stream.MaxTrailers-5)}}, nil},
		{"one more", []stream.Pair{{Key: "ab", Val: strings.Repeat("v", stream.MaxTrailers-5)}}, stream.ErrTooLarge},
		{"long value", []stream.Pair{{Key: "a", Val: long + "v"}}, stream.ErrTooLarge},
		{"many", []stream.Pair{{Key: "a", Val: long[:40000]}, {Key: "b", Val: long[:40000]}}, stream.ErrTooLarge},
		{"empty name", []stream.Pair{{Val: "v"}}, stream.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := stream.AppendTrailers([]byte("kept"), tt.pairs)
			if !errors.Is(err, tt.want) {
				t.Fatalf("AppendTrailers = %v, want %v", err, tt.want)
			}
			if err != nil {
				if string(b) != "kept" {
					t.Errorf("AppendTrailers gave %d bytes with an error", len(b))
				}
				return
			}
			got, err := stream.ParseTrailers(b[len("kept")+stream.FrameHeaderSize:])
			if diff := cmp.Diff(tt.pairs, got); err != nil || diff != "" {
				t.Errorf("ParseTrailers = %v (-want +got):\n%s", err, diff)
			}
		})
	}
	if _, err := stream.ParseTrailers(make([]byte, stream.MaxTrailers+1)); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("ParseTrailers of too much = %v", err)
	}
	if _, _, err := stream.ParseFrameHeader([]byte{0, 0, 0}); !errors.Is(err, stream.ErrShort) {
		t.Errorf("ParseFrameHeader of 3 bytes = %v", err)
	}
}

func TestAppendDataHeaderRange(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("AppendDataHeader took a length that does not fit")
		}
	}()
	stream.AppendDataHeader(nil, stream.MaxFrameData+1)
}

func TestFrameTypeString(t *testing.T) {
	got := []string{stream.FrameData.String(), stream.FrameTrailers.String(), stream.FrameType(9).String()}
	if diff := cmp.Diff([]string{"data", "trailers", "FrameType(9)"}, got); diff != "" {
		t.Errorf("String (-want +got):\n%s", diff)
	}
}

func TestAccepts(t *testing.T) {
	for _, tt := range []struct {
		list, item string
		want       bool
	}{
		{"", stream.AcceptFrames, false},
		{"frames", stream.AcceptFrames, true},
		{"frames,interim", stream.AcceptInterim, true},
		{"later, frames , interim", stream.AcceptFrames, true},
		{"Frames", stream.AcceptFrames, false},
		{"framesinterim", stream.AcceptFrames, false},
		{",,", stream.AcceptFrames, false},
	} {
		if got := stream.Accepts(tt.list, tt.item); got != tt.want {
			t.Errorf("Accepts(%q, %q) = %t", tt.list, tt.item, got)
		}
	}
}

func TestLookup(t *testing.T) {
	pairs := []stream.Pair{{Key: "a", Val: "1"}, {Key: "b", Val: "2"}, {Key: "a", Val: "3"}}
	if v, ok := stream.Lookup(pairs, "a"); v != "3" || !ok {
		t.Errorf("Lookup(a) = %q, %t, want the last one", v, ok)
	}
	if v, ok := stream.Lookup(pairs, "c"); v != "" || ok {
		t.Errorf("Lookup(c) = %q, %t", v, ok)
	}
}

func FuzzDeframer(f *testing.F) {
	pairs := []stream.Pair{{Key: "Grpc-Status", Val: "0"}, {Key: "A", Val: ""}}
	f.Add([]byte{}, uint8(1))
	f.Add(bodyOf(f, pairs, "hello", "", "world"), uint8(3))
	f.Add(append(bodyOf(f, pairs, "x"), 0, 0, 0, 0), uint8(200))
	f.Add([]byte{2, 0, 0, 0}, uint8(4))
	f.Add([]byte{1, 1, 0, 1}, uint8(4))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		whole, d1, err1 := deframe(b, len(b)+1)
		parts, d2, err2 := deframe(b, int(size)+1)
		if whole != parts || (err1 == nil) != (err2 == nil) {
			t.Fatalf("in one piece %q, %v; in pieces %q, %v", whole, err1, parts, err2)
		}
		if diff := cmp.Diff(d1.Trailers(), d2.Trailers()); diff != "" {
			t.Fatalf("trailers (-whole +pieces):\n%s", diff)
		}
		var d3 stream.Deframer
		p := bytes.Clone(b)
		if n, err := d3.Strip(p); string(p[:n]) != whole || err != nil && err1 == nil {
			t.Fatalf("Strip = %q, %v, want %q", p[:n], err, whole)
		}
		total := 0
		for _, p := range d1.Trailers() {
			total += len(p.Key) + len(p.Val)
		}
		if len(whole)+total > len(b) {
			t.Fatalf("%d bytes gave %d", len(b), len(whole)+total)
		}
	})
}

func FuzzTrailers(f *testing.F) {
	f.Add([]byte{})
	f.Add(bodyOf(f, []stream.Pair{{Key: "Grpc-Status", Val: "0"}, {Key: "A", Val: ""}})[stream.FrameHeaderSize:])
	f.Add([]byte{0, 1, 'a', 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		pairs, err := stream.ParseTrailers(b)
		if err != nil {
			return
		}
		out, err := stream.AppendTrailers(nil, pairs)
		if err != nil {
			t.Fatalf("AppendTrailers of parsed: %v", err)
		}
		if !bytes.Equal(out[stream.FrameHeaderSize:], b) {
			t.Fatalf("append(parse(%x)) = %x", b, out)
		}
		typ, n, err := stream.ParseFrameHeader(out)
		if typ != stream.FrameTrailers || n != len(b) || err != nil {
			t.Fatalf("ParseFrameHeader = %v, %d, %v", typ, n, err)
		}
		again, err := stream.ParseTrailers(out[stream.FrameHeaderSize:])
		if diff := cmp.Diff(pairs, again, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("parse(append(x)) = %v (-x +got):\n%s", err, diff)
		}
	})
}
