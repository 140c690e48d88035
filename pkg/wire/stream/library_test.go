package stream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	capnp "capnproto.org/go/capnp/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/wire/schema"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

const prologue = "\x0a\x36\xcd\x12\xa1\x3e01"

// The functions below are the reference implementation of this package's codec, made of the general library and the
// generated schema.

func libraryParseRequest(b []byte) (stream.Request, error) {
	msg, err := capnp.Unmarshal(b[stream.PrologueSize:])
	if err != nil {
		return stream.Request{}, err
	}
	root, err := schema.ReadRootConnectRequest(msg)
	if err != nil {
		return stream.Request{}, err
	}
	r := stream.Request{Type: stream.Type(root.Type())}
	if r.Dest, err = root.Dest(); err != nil {
		return stream.Request{}, err
	}
	list, err := root.Metadata()
	if err != nil {
		return stream.Request{}, err
	}
	r.Metadata, err = libraryPairs(list)
	return r, err
}

func libraryParseResponse(b []byte) (stream.Response, error) {
	msg, err := capnp.Unmarshal(b[stream.PrologueSize:])
	if err != nil {
		return stream.Response{}, err
	}
	root, err := schema.ReadRootConnectResponse(msg)
	if err != nil {
		return stream.Response{}, err
	}
	var r stream.Response
	if r.Error, err = root.Error(); err != nil {
		return stream.Response{}, err
	}
	list, err := root.Metadata()
	if err != nil {
		return stream.Response{}, err
	}
	r.Metadata, err = libraryPairs(list)
	return r, err
}

func libraryPairs(list schema.Metadata_List) ([]stream.Pair, error) {
	var out []stream.Pair
	for i := range list.Len() {
		key, err := list.At(i).Key()
		if err != nil {
			return nil, err
		}
		val, err := list.At(i).Val()
		if err != nil {
			return nil, err
		}
		out = append(out, stream.Pair{Key: key, Val: val})
	}
	return out, nil
}

func libraryAppendRequest(t testing.TB, arena capnp.Arena, r stream.Request) []byte {
	t.Helper()
	msg, seg, err := capnp.NewMessage(arena)
	must(t, err)
	root, err := schema.NewRootConnectRequest(seg)
	must(t, err)
	root.SetType(schema.ConnectionType(r.Type))
	must(t, root.SetDest(r.Dest))
	list, err := root.NewMetadata(int32(len(r.Metadata)))
	must(t, err)
	fillPairs(t, list, r.Metadata)
	return marshal(t, msg)
}

func libraryAppendResponse(t testing.TB, arena capnp.Arena, r stream.Response) []byte {
	t.Helper()
	msg, seg, err := capnp.NewMessage(arena)
	must(t, err)
	root, err := schema.NewRootConnectResponse(seg)
	must(t, err)
	must(t, root.SetError(r.Error))
	list, err := root.NewMetadata(int32(len(r.Metadata)))
	must(t, err)
	fillPairs(t, list, r.Metadata)
	return marshal(t, msg)
}

func fillPairs(t testing.TB, list schema.Metadata_List, pairs []stream.Pair) {
	t.Helper()
	for i, p := range pairs {
		must(t, list.At(i).SetKey(p.Key))
		must(t, list.At(i).SetVal(p.Val))
	}
}

func marshal(t testing.TB, msg *capnp.Message) []byte {
	t.Helper()
	b, err := msg.Marshal()
	must(t, err)
	return append([]byte(prologue), b...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func samples() []stream.Request {
	many := make([]stream.Pair, 300)
	for i := range many {
		many[i] = stream.Pair{Key: fmt.Sprintf("HttpHeader:X-%d", i), Val: strings.Repeat("v", i)}
	}
	return []stream.Request{
		{},
		{Dest: "192.0.2.1:22", Type: stream.TCP},
		{Dest: "http://h/", Metadata: []stream.Pair{{}}},
		{Dest: "http://h/", Metadata: []stream.Pair{{Key: "k"}, {Val: "v"}, {}}},
		{Dest: "1234567", Type: stream.WebSocket, Metadata: []stream.Pair{{Key: "12345678", Val: "\x00\xff\x00"}}},
		{Dest: strings.Repeat("d", 100_000), Metadata: many},
	}
}

func TestAgainstLibrary(t *testing.T) {
	arenas := map[string]func() capnp.Arena{
		"single": func() capnp.Arena { return capnp.SingleSegment(nil) },
		"multi":  func() capnp.Arena { return capnp.MultiSegment(nil) },
	}
	for i, want := range samples() {
		ours, err := want.Append(nil)
		must(t, err)
		got, err := libraryParseRequest(ours)
		must(t, err)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("sample %d: library reads ours (-want +got):\n%s", i, diff)
		}
		response := stream.Response{Error: want.Dest, Metadata: want.Metadata}
		oursResponse, err := response.Append(nil)
		must(t, err)
		gotResponse, err := libraryParseResponse(oursResponse)
		must(t, err)
		if diff := cmp.Diff(response, gotResponse, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("sample %d: library reads our response (-want +got):\n%s", i, diff)
		}
		for name, arena := range arenas {
			var got stream.Request
			b := libraryAppendRequest(t, arena(), want)
			if n, err := stream.ParseRequest(b, &got); err != nil || n != len(b) {
				t.Errorf("sample %d %s: ParseRequest = %d, %v, want %d", i, name, n, err, len(b))
			} else if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("sample %d %s: ours reads library's (-want +got):\n%s", i, name, diff)
			}
			var gotResponse stream.Response
			b = libraryAppendResponse(t, arena(), response)
			if n, err := stream.ParseResponse(b, &gotResponse); err != nil || n != len(b) {
				t.Errorf("sample %d %s: ParseResponse = %d, %v, want %d", i, name, n, err, len(b))
			} else if diff := cmp.Diff(response, gotResponse, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("sample %d %s: ours reads library's response (-want +got):\n%s", i, name, diff)
			}
		}
	}
}

// compareRequest fails when our parser accepts what the library refuses or reads otherwise. The reverse is allowed:
// ours is stricter about text terminators, pointer kinds and shared content.
func compareRequest(t *testing.T, b []byte) {
	t.Helper()
	var ours stream.Request
	n, err := stream.ParseRequest(b, &ours)
	if err != nil && !errors.Is(err, stream.ErrUnknownType) {
		return
	}
	theirs, err := libraryParseRequest(b[:n])
	if err != nil {
		t.Fatalf("accepted as %+v, refused by the library: %v", ours, err)
	}
	if diff := cmp.Diff(theirs, ours, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("read otherwise (-library +ours):\n%s", diff)
	}
}

func compareResponse(t *testing.T, b []byte) {
	t.Helper()
	var ours stream.Response
	n, err := stream.ParseResponse(b, &ours)
	if err != nil {
		return
	}
	theirs, err := libraryParseResponse(b[:n])
	if err != nil {
		t.Fatalf("accepted as %+v, refused by the library: %v", ours, err)
	}
	if diff := cmp.Diff(theirs, ours, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("read otherwise (-library +ours):\n%s", diff)
	}
}
