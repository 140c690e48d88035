package stream_test

import (
	"encoding/binary"
	"errors"
	"testing"

	capnp "capnproto.org/go/capnp/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

func FuzzParseRequest(f *testing.F) {
	for _, v := range loadVectors[requestVector](f, "connect_request") {
		f.Add(unhex(f, v.Hex))
	}
	for _, r := range samples()[:5] {
		f.Add(scatterRequest(r, singleFar))
		f.Add(scatterRequest(r, doubleFar))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = unframe(b)
		compareRequest(t, b)
		var r, again stream.Request
		n, err := stream.ParseRequest(b, &r)
		if err != nil && !errors.Is(err, stream.ErrUnknownType) {
			return
		}
		checkBounds(t, n, len(b), r.Metadata)
		if err != nil {
			return
		}
		out, err := r.Append([]byte("kept"))
		if err != nil {
			t.Fatalf("Append of a parsed request: %v", err)
		}
		if n, err := stream.ParseRequest(out[len("kept"):], &again); err != nil || n != len(out)-len("kept") {
			t.Fatalf("ParseRequest of appended = %d, %v", n, err)
		}
		if diff := cmp.Diff(r, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("parse(append(x)) differs (-x +got):\n%s", diff)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	for _, v := range loadVectors[responseVector](f, "connect_response") {
		f.Add(unhex(f, v.Hex))
	}
	for _, r := range samples()[:5] {
		f.Add(scatterResponse(stream.Response{Error: r.Dest, Metadata: r.Metadata}, singleFar))
		f.Add(scatterResponse(stream.Response{Error: r.Dest, Metadata: r.Metadata}, doubleFar))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = unframe(b)
		compareResponse(t, b)
		var r, again stream.Response
		n, err := stream.ParseResponse(b, &r)
		if err != nil {
			return
		}
		checkBounds(t, n, len(b), r.Metadata)
		out, err := r.Append(nil)
		if err != nil {
			t.Fatalf("Append of a parsed response: %v", err)
		}
		if n, err := stream.ParseResponse(out, &again); err != nil || n != len(out) {
			t.Fatalf("ParseResponse of appended = %d, %v", n, err)
		}
		if diff := cmp.Diff(r, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("parse(append(x)) differs (-x +got):\n%s", diff)
		}
	})
}

// FuzzAgainstLibrary builds requests of fuzzed values with the library, or scattered over segments, and reads them.
func FuzzAgainstLibrary(f *testing.F) {
	f.Add("http://h/", uint16(0), "HttpMethod", "GET", uint8(3), false)
	f.Add("", uint16(2), "", "\x00", uint8(0), true)
	f.Fuzz(func(t *testing.T, dest string, kind uint16, key, val string, repeat uint8, far bool) {
		want := stream.Request{Dest: dest, Type: stream.Type(kind % 3)}
		for i := range repeat % 16 {
			want.Metadata = append(want.Metadata, stream.Pair{Key: key[:len(key)*int(i)/16], Val: val})
		}
		var got stream.Request
		b := libraryAppendRequest(t, capnp.SingleSegment(nil), want)
		if far {
			b = scatterRequest(want, doubleFar)
			compareRequest(t, b)
		}
		if n, err := stream.ParseRequest(b, &got); err != nil || n != len(b) {
			t.Fatalf("ParseRequest = %d, %v, want %d", n, err, len(b))
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("ours reads library's (-want +got):\n%s", diff)
		}
		compareRequest(t, mustAppend(t, want))
	})
}

// unframe cuts off prologue and segment table, so that the fuzzer changes what follows them.
func unframe(b []byte) []byte {
	const head = stream.PrologueSize + 8
	if len(b) < head || len(b)%8 != 0 {
		return b
	}
	copy(b, prologue)
	if binary.LittleEndian.Uint32(b[stream.PrologueSize:]) == 0 {
		binary.LittleEndian.PutUint32(b[stream.PrologueSize+4:], uint32(len(b)-head)/8)
	}
	return b
}

// checkBounds fails when the parsed request has more data than the message.
func checkBounds(t *testing.T, n, size int, pairs []stream.Pair) {
	t.Helper()
	if n > size {
		t.Fatalf("n = %d of %d bytes", n, size)
	}
	total := 0
	for _, p := range pairs {
		total += len(p.Key) + len(p.Val)
	}
	if total > n || cap(pairs)*8 > n {
		t.Fatalf("%d bytes gave %d pairs (capacity %d) with %d bytes", n, len(pairs), cap(pairs), total)
	}
}

func mustAppend(t testing.TB, r stream.Request) []byte {
	t.Helper()
	b, err := r.Append(nil)
	must(t, err)
	return b
}
