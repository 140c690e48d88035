package stream_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

type farMode int

const (
	singleFar farMode = iota
	doubleFar
)

// scatter builds messages whose every object lies in a segment of its own, reached through far pointers: what a legal
// but unusual encoder may send.
type scatter struct {
	mode     farMode
	segments [][]byte
}

func words(v ...uint64) []byte {
	var b []byte
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// place stores an object and returns the far pointer to it; word is its pointer without an offset.
func (s *scatter) place(word uint64, content []byte) uint64 {
	id := uint64(len(s.segments))
	if s.mode == singleFar {
		s.segments = append(s.segments, append(words(word), content...))
		return 2 | id<<32
	}
	const skip = 1 // the content starts one word into its segment
	s.segments = append(s.segments, append(words(0), content...), words(0, 2|skip<<3|id<<32, word))
	return 2 | 4 | skip<<3 | (id+1)<<32
}

func (s *scatter) text(v string) uint64 {
	if v == "" {
		return 0
	}
	content := make([]byte, (len(v)+8)/8*8)
	copy(content, v)
	return s.place(1|2<<32|uint64(len(v)+1)<<35, content)
}

func (s *scatter) message(data []uint64, text string, pairs []stream.Pair) []byte {
	s.segments = [][]byte{nil}
	list := words(uint64(len(pairs))<<2 | 2<<48)
	for _, p := range pairs {
		list = append(list, words(s.text(p.Key), s.text(p.Val))...)
	}
	root := append(words(data...), words(s.text(text), s.place(1|7<<32|uint64(len(pairs)*2)<<35, list))...)
	s.segments[0] = words(s.place(uint64(len(data))<<32|2<<48, root))
	return frame(s.segments...)
}

// frame makes a data-stream prologue and message of segments.
func frame(segments ...[]byte) []byte {
	b := []byte(prologue)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(segments)-1))
	for _, seg := range segments {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(seg)/8))
	}
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	for _, seg := range segments {
		b = append(b, seg...)
	}
	return b
}

func scatterRequest(r stream.Request, mode farMode) []byte {
	s := scatter{mode: mode}
	return s.message([]uint64{uint64(r.Type)}, r.Dest, r.Metadata)
}

func scatterResponse(r stream.Response, mode farMode) []byte {
	s := scatter{mode: mode}
	return s.message(nil, r.Error, r.Metadata)
}

func TestFarPointers(t *testing.T) {
	for _, mode := range []farMode{singleFar, doubleFar} {
		for i, want := range samples() {
			if len(want.Metadata) > 100 {
				want.Metadata = want.Metadata[:100]
			}
			var got stream.Request
			b := scatterRequest(want, mode)
			if n, err := stream.ParseRequest(b, &got); err != nil || n != len(b) {
				t.Errorf("sample %d mode %d: ParseRequest = %d, %v, want %d", i, mode, n, err, len(b))
				continue
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("sample %d mode %d (-want +got):\n%s", i, mode, diff)
			}
			compareRequest(t, b)
			response := stream.Response{Error: want.Dest, Metadata: want.Metadata}
			compareResponse(t, scatterResponse(response, mode))
		}
	}
}

// Pointer words used below: dest or list at an offset of words behind the pointer.
const (
	structWord    = uint64(0)
	listOfBytes   = uint64(1 | 2<<32)
	listOfPtrs    = uint64(1 | 6<<32)
	listComposite = uint64(1 | 7<<32)
)

func TestEvolution(t *testing.T) {
	text := func(offset uint64, n int) uint64 { return listOfBytes | offset<<2 | uint64(n)<<35 }
	abc := binary.LittleEndian.Uint64([]byte("abc\x00\x00\x00\x00\x00"))
	for name, tc := range map[string]struct {
		segment []byte
		want    stream.Request
	}{
		"null root":             {words(0), stream.Request{}},
		"empty root":            {words(structWord | 0xfffffffc), stream.Request{}},
		"root without pointers": {words(1<<32, 2), stream.Request{Type: stream.TCP}},
		"root without data":     {words(1<<48, text(0, 4), abc), stream.Request{Dest: "abc"}},
		"larger root": {
			words(2<<32|3<<48, 1, 99, text(2, 4), 0, 7, abc),
			stream.Request{Dest: "abc", Type: stream.WebSocket},
		},
		"type with neighbours": {words(1<<32, 0xffff_ffff_ffff_0002), stream.Request{Type: stream.TCP}},
		"smaller elements": {
			words(2<<48, 0, listComposite|1<<35, 1<<2|1<<48, text(0, 4), abc),
			stream.Request{Metadata: []stream.Pair{{Key: "abc"}}},
		},
		"larger elements": {
			words(2<<48, 0, listComposite|4<<35, 1<<2|1<<32|3<<48, 5, text(2, 4), 0, 7, abc),
			stream.Request{Metadata: []stream.Pair{{Key: "abc"}}},
		},
		"list of pointers": {
			words(2<<48, 0, listOfPtrs|1<<35, text(0, 4), abc),
			stream.Request{Metadata: []stream.Pair{{Key: "abc"}}},
		},
		"elements without content": {
			words(2<<48, 0, listComposite, 2<<2),
			stream.Request{Metadata: make([]stream.Pair, 2)},
		},
		"empty list of bytes": {words(2<<48, 0, listOfBytes), stream.Request{}},
	} {
		t.Run(name, func(t *testing.T) {
			var got stream.Request
			b := frame(tc.segment)
			if n, err := stream.ParseRequest(b, &got); err != nil || n != len(b) {
				t.Fatalf("ParseRequest = %d, %v, want %d", n, err, len(b))
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("ParseRequest (-want +got):\n%s", diff)
			}
			compareRequest(t, b)
		})
	}
}

func TestMalformed(t *testing.T) {
	text := func(offset int32, n int) uint64 { return listOfBytes | uint64(uint32(offset)<<2) | uint64(n)<<35 }
	const root = uint64(2 << 48)
	full := binary.LittleEndian.Uint64([]byte("abcdefgh"))
	for name, in := range map[string][]byte{
		"no words":                    frame(nil),
		"root is a list":              frame(words(listOfBytes)),
		"root is a capability":        frame(words(3)),
		"root outside":                frame(words(8<<32, 0)),
		"root before":                 frame(words(0xffff_fff8|1<<32, 0)),
		"text outside":                frame(words(root, text(0, 9), 0)),
		"text far outside":            frame(words(root, text(1<<28, 1), 0)),
		"text before":                 frame(words(root, text(-9, 1), 0)),
		"text without terminator":     frame(words(root, text(1, 8), 0, full)),
		"text without bytes":          frame(words(root, text(1, 0), 0)),
		"text is a struct":            frame(words(root, 1<<32, 0)),
		"text is a list of words":     frame(words(root, 1|5<<32|1<<35, 0)),
		"text is a capability":        frame(words(root, 3, 0)),
		"metadata is a struct":        frame(words(root, 0, 1<<32, 0)),
		"metadata is bytes":           frame(words(root, 0, listOfBytes|1<<35, 0)),
		"metadata is bits":            frame(words(root, 0, 1|1<<32|1<<35, 0)),
		"metadata outside":            frame(words(root, 0, listComposite|2<<35, 1<<2|2<<48, 0)),
		"metadata without tag":        frame(words(root, 0, listComposite)),
		"tag is a list":               frame(words(root, 0, listComposite|2<<35, 1|1<<2|2<<48, 0, 0)),
		"tag says more than the list": frame(words(root, 0, listComposite|2<<35, 2<<2|2<<48, 0, 0)),
		"tag with negative count":     frame(words(root, 0, listComposite|2<<35, 0xffff_fffc|2<<48, 0, 0)),
		"pointers outside":            frame(words(root, 0, listOfPtrs|2<<35, 0)),
		"many elements without size":  frame(words(root, 0, listComposite, 1<<20<<2)),
		"elements share a text": frame(words(root, 0, listComposite|4<<35, 4<<2|1<<48,
			text(3, 24), text(2, 24), text(1, 24), text(0, 24), full, full, 0)),
		"far to unknown segment":       frame(words(2 | 1<<32)),
		"far outside":                  frame(words(2|1<<32), words(0)[:0]),
		"far far outside":              frame(words(2|0xffff_fff8|1<<32), words(0)),
		"far to a far":                 frame(words(2|1<<32), words(2|2<<32), words(0)),
		"double far outside":           frame(words(6|1<<32), words(2)),
		"double far to no far":         frame(words(6|1<<32), words(1<<32, 0)),
		"double far to a double far":   frame(words(6|1<<32), words(6, 0)),
		"double far tag with offset":   frame(words(6|1<<32), words(2, 4)),
		"double far tag is capability": frame(words(6|1<<32), words(2, 3)),
		"double far content unknown":   frame(words(6|1<<32), words(2|9<<32, 0)),
		"double far content outside":   frame(words(6|1<<32), words(2|9<<3, 0)),
	} {
		t.Run(name, func(t *testing.T) {
			var r stream.Request
			if _, err := stream.ParseRequest(in, &r); !errors.Is(err, stream.ErrMalformed) {
				t.Errorf("ParseRequest: error %v, want ErrMalformed; got %+v", err, r)
			}
			var p stream.Response
			if _, err := stream.ParseResponse(in, &p); !errors.Is(err, stream.ErrMalformed) {
				t.Errorf("ParseResponse: error %v, want ErrMalformed", err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	r := stream.Request{Dest: "http://h/"}
	b := mustAppend(t, r)
	size := len(b) - stream.PrologueSize
	if _, err := stream.ParseRequestLimit(b, &r, size); err != nil {
		t.Errorf("ParseRequestLimit at its limit: %v", err)
	}
	if _, err := stream.ParseRequestLimit(b, &r, size-1); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("ParseRequestLimit over its limit: error %v, want ErrTooLarge", err)
	}
	huge := frame(nil)
	binary.LittleEndian.PutUint32(huge[stream.PrologueSize+4:], 0xffff_ffff)
	if n, err := stream.ParseRequest(huge, &r); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("ParseRequest of a huge size = %d, %v, want ErrTooLarge before the bytes arrive", n, err)
	}
	segments := make([][]byte, stream.MaxSegments)
	segments[0] = words(0)
	if _, err := stream.ParseRequest(frame(segments...), &r); err != nil {
		t.Errorf("ParseRequest of MaxSegments segments: %v", err)
	}
	if _, err := stream.ParseRequest(frame(append(segments, nil)...), &r); !errors.Is(err, stream.ErrMalformed) {
		t.Errorf("ParseRequest of MaxSegments+1 segments: error %v, want ErrMalformed", err)
	}
	if _, err := (&stream.Request{Dest: string(make([]byte, stream.MaxReferenceMessage))}).Append(nil); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("Append of a huge request: error %v, want ErrTooLarge", err)
	}
	if _, err := stream.ParseRequest([]byte(stream.RPCSignature), &r); !errors.Is(err, stream.ErrUnknownSignature) {
		t.Errorf("ParseRequest of an RPC stream: error %v, want ErrUnknownSignature", err)
	}
}

func TestUnknownType(t *testing.T) {
	b := mustAppend(t, stream.Request{Dest: "a:1", Type: stream.TCP})
	b[stream.PrologueSize+16] = 7
	var r stream.Request
	n, err := stream.ParseRequest(b, &r)
	if !errors.Is(err, stream.ErrUnknownType) || n != len(b) || r.Dest != "a:1" || r.Type != 7 {
		t.Errorf("ParseRequest = %d, %v, %+v, want a readable request and ErrUnknownType", n, err, r)
	}
	if _, err := r.Append(nil); !errors.Is(err, stream.ErrUnknownType) {
		t.Errorf("Append: error %v, want ErrUnknownType", err)
	}
}
