package mux

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// raw is one end of a connection on the level of frames.
type raw struct {
	*http2.Framer
	conn   *Conn
	frames chan string // what the connection sends, except for SETTINGS and WINDOW_UPDATE
	t      *testing.T
}

// connect makes a connection with a raw peer.
func connect(t *testing.T, cfg Config) *raw {
	t.Helper()
	near, far := net.Pipe()
	r := &raw{Framer: http2.NewFramer(far, far), frames: make(chan string, 1000), t: t}
	r.conn = New(t.Context(), near, cfg)
	go func() {
		defer close(r.frames)
		if cfg.Role == Client {
			_, _ = far.Read(make([]byte, len(http2.ClientPreface)))
		}
		for {
			f, err := r.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.HeadersFrame:
				text := "HEADERS"
				if f.StreamEnded() {
					text += " END"
				}
				r.frames <- text
			case *http2.RSTStreamFrame:
				r.frames <- "RST " + f.ErrCode.String()
			case *http2.GoAwayFrame:
				r.frames <- "GOAWAY " + f.ErrCode.String()
			case *http2.PingFrame:
				r.frames <- "PING"
			}
		}
	}()
	t.Cleanup(func() {
		r.conn.Close(http2.ErrCodeNo, "")
		_ = far.Close()
	})
	if cfg.Role == Server {
		_, _ = far.Write([]byte(http2.ClientPreface))
	}
	_ = r.WriteSettings()
	return r
}

// expect reads the next frames.
func (r *raw) expect(want ...string) {
	r.t.Helper()
	for _, w := range want {
		if got, ok := <-r.frames; got != w {
			r.t.Fatalf("frame %q (open: %v), want %q", got, ok, w)
		}
	}
}

// send sends a header in pieces of a frame's size.
func (r *raw) send(id uint32, end bool, block []byte) {
	r.t.Helper()
	first := true
	for {
		n := min(len(block), initialFrame)
		last := n == len(block)
		var err error
		if first {
			err = r.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndHeaders: last, EndStream: end})
		} else {
			err = r.WriteContinuation(id, last, block[:n])
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if first, block = false, block[n:]; last {
			return
		}
	}
}

// references is a block that one table entry of 4000 bytes and many references to it make large: n bytes on the wire.
func references(n int) []byte {
	return append(encoded("x-bomb", strings.Repeat("a", 3900)), bytes.Repeat([]byte{0x80 | 62}, n)...)
}

func manyFields(n int) []byte {
	var b []byte
	for range n {
		b = append(b, 0, 1, 'a', 0) // a literal that enters no table: "a" without a value
	}
	return b
}

// TestRequestHeaderLimits: a request whose header costs too much gets the response for that, whatever it looks like on
// the wire, and the connection stays usable.
func TestRequestHeaderLimits(t *testing.T) {
	get := encoded(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")
	streams := make(chan *Stream, 10)
	cfg := testConfig(Server, func(s *Stream) { streams <- s })
	cfg.TooLarge = []Field{{Name: ":status", Value: "431"}}
	r := connect(t, cfg)
	id := uint32(1)
	for _, tt := range []struct {
		name  string
		block []byte
		end   bool
		want  []string
	}{
		{"many fields", manyFields(1000), true, []string{"HEADERS END"}},
		{"many fields and a body", manyFields(1000), false, []string{"HEADERS END", "RST NO_ERROR"}},
		{"references", references(8000), true, []string{"HEADERS END"}},
		{"one value of 300 KB", encoded("a", strings.Repeat("x", 300_000)), true, []string{"HEADERS END"}},
		{"malformed after the limit", append(manyFields(1000), encoded("A", "b")...), true, []string{"HEADERS END"}},
		{"malformed", encoded("A", "b"), false, []string{"RST PROTOCOL_ERROR"}},
		{"malformed with continuation", append(encoded("A", "b"), manyFields(5000)...), false, []string{"RST PROTOCOL_ERROR"}},
		{"pseudo-header twice", encoded(":path", "/"), false, []string{"RST PROTOCOL_ERROR"}},
		{"status of a response", encoded(":status", "200"), false, []string{"RST PROTOCOL_ERROR"}},
		{"pseudo-header at the end", encoded("a", "b", ":protocol", "x"), false, []string{"RST PROTOCOL_ERROR"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.t = t
			r.send(id, tt.end, append(bytes.Clone(get), tt.block...))
			r.expect(tt.want...)
			r.send(id+2, true, get)
			if s := <-streams; s.id != id+2 {
				t.Errorf("stream %d, want %d", s.id, id+2)
			} else {
				s.TakeHead()
				_ = s.SendHead([]Field{{Name: ":status", Value: "200"}}, false, true)
			}
			r.expect("HEADERS END")
			id += 4
		})
	}
}

// TestTrailerLimits: trailers that cost too much reset their stream only.
func TestTrailerLimits(t *testing.T) {
	get := encoded(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")
	streams := make(chan *Stream, 1)
	r := connect(t, testConfig(Server, func(s *Stream) { streams <- s }))
	for i, block := range [][]byte{manyFields(65), references(5)} {
		id := uint32(1 + 2*i)
		r.send(id, false, get)
		s := <-streams
		r.send(id, true, block)
		r.expect("RST ENHANCE_YOUR_CALM")
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, transport.ErrReset) {
			t.Errorf("read: %v, want a reset", err)
		}
		s.Reset(http2.ErrCodeCancel)
	}
	if held := r.conn.heldHeaders.Load(); held != 0 {
		t.Errorf("%d bytes of headers are still counted", held)
	}
}

// TestResponseHeaderLimits: a header or trailers of a response that cost too much reset their stream only, interim ones
// as well.
func TestResponseHeaderLimits(t *testing.T) {
	r := connect(t, testConfig(Client, nil))
	for name, blocks := range map[string][][]byte{
		"final":    {append(encoded(":status", "200"), manyFields(65)...)},
		"interim":  {append(encoded(":status", "103"), references(5)...)},
		"trailers": {encoded(":status", "200"), manyFields(65)},
	} {
		t.Run(name, func(t *testing.T) {
			r.t = t
			s, err := r.conn.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.SendHead([]Field{{Name: ":method", Value: "GET"}}, false, true); err != nil {
				t.Fatal(err)
			}
			r.expect("HEADERS END")
			for i, b := range blocks {
				r.send(s.id, i == 1, b)
			}
			r.expect("RST ENHANCE_YOUR_CALM")
			for err == nil {
				_, err = s.ReadHead()
			}
			if !errors.Is(err, transport.ErrReset) {
				t.Errorf("read: %v, want a reset", err)
			}
			s.CancelRead()
		})
	}
	if held := r.conn.heldHeaders.Load(); held != 0 {
		t.Errorf("%d bytes of headers are still counted", held)
	}
}

// TestHeaderBudget: headers that no reader takes are bounded for the connection as a whole. A stream beyond is refused,
// and accepted again once a reader has taken a header.
func TestHeaderBudget(t *testing.T) {
	streams := make(chan *Stream, 100)
	cfg := testConfig(Server, func(s *Stream) { streams <- s })
	cfg.HeaderBudget = 30_000
	r := connect(t, cfg)
	block := append(encoded(":method", "GET"), references(2)...) // about 12 KB, and 8 KB more for each later one
	id := uint32(1)
	for ; len(streams) < 2; id += 2 {
		r.send(id, true, block)
		_ = r.WritePing(false, [8]byte{})
		r.expect("PING")
	}
	r.send(id, true, block)
	r.expect("RST REFUSED_STREAM")
	if held := r.conn.heldHeaders.Load(); held > 30_000 {
		t.Errorf("%d bytes are held", held)
	}
	(<-streams).TakeHead()
	r.send(id+2, true, block)
	_ = r.WritePing(false, [8]byte{})
	r.expect("PING")
	if len(streams) != 2 {
		t.Errorf("%d streams wait, want 2", len(streams))
	}
}

// TestBlockOnTheWire: a header block without end ends the connection, empty frames as well.
func TestBlockOnTheWire(t *testing.T) {
	for name, piece := range map[string][]byte{"full": manyFields(4000), "empty": nil} {
		t.Run(name, func(t *testing.T) {
			r := connect(t, testConfig(Server, func(*Stream) {}))
			_ = r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encoded(":method", "GET")})
			for r.conn.Context().Err() == nil {
				if r.WriteContinuation(1, false, piece) != nil {
					break
				}
			}
			<-r.conn.Context().Done()
			if cause := context.Cause(r.conn.Context()); !strings.Contains(cause.Error(), "header block too large") {
				t.Errorf("cause: %v", cause)
			}
		})
	}
}

// TestProbation: a peer has few streams and a small window until it is admitted.
func TestProbation(t *testing.T) {
	get := encoded(":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/")
	streams := make(chan *Stream, 100)
	cfg := testConfig(Server, func(s *Stream) { streams <- s })
	cfg.Probation = Probation{MaxStreams: 2, ConnWindow: 100_000}
	cfg.StreamWindow = 1 << 20
	r := connect(t, cfg)
	r.send(1, false, get)
	r.send(3, false, get)
	r.send(5, false, get)
	r.expect("RST REFUSED_STREAM")
	if w := r.conn.recvWindow.Load(); w != 100_000 {
		t.Errorf("window in probation: %d", w)
	}
	r.conn.Admit()
	r.conn.Admit()
	if w := r.conn.recvWindow.Load(); w != int64(cfg.ConnWindow) {
		t.Errorf("window after it: %d, want %d", w, cfg.ConnWindow)
	}
	r.send(7, false, get)
	_ = r.WritePing(false, [8]byte{})
	r.expect("PING")
	if len(streams) != 3 {
		t.Errorf("%d streams, want 3", len(streams))
	}
}

// TestProbationWindow: data beyond the window of the probation ends the connection.
func TestProbationWindow(t *testing.T) {
	cfg := testConfig(Server, func(*Stream) {})
	cfg.Probation = Probation{ConnWindow: 70_000}
	cfg.StreamWindow = 1 << 20
	r := connect(t, cfg)
	r.send(1, false, encoded(":method", "POST"))
	for range 5 {
		if r.WriteData(1, false, make([]byte, 16<<10)) != nil {
			break
		}
	}
	<-r.conn.Context().Done()
	if cause := context.Cause(r.conn.Context()); !strings.Contains(cause.Error(), "window") {
		t.Errorf("cause: %v", cause)
	}
}

func FuzzSection(f *testing.F) {
	f.Add(encoded(":method", "GET", "a", "b"), false)
	f.Add(references(100), true)
	f.Add(manyFields(300), false)
	f.Fuzz(func(t *testing.T, block []byte, split bool) {
		d := newSectionDecoder(httpfield.Limits{MaxFields: 16, MaxBytes: 8 << 10})
		b := frames(func(fr *http2.Framer) {
			n := len(block)
			if split {
				n /= 2
			}
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:n], EndHeaders: !split})
			if split {
				_ = fr.WriteContinuation(1, true, block[n:])
			}
		})
		fr := http2.NewFramer(nil, bytes.NewReader(b))
		fr.SetMaxReadFrameSize(1 << 20)
		fm, err := fr.ReadFrame()
		if err != nil {
			return
		}
		s, err := d.read(fr, fm.(*http2.HeadersFrame))
		if err != nil {
			return
		}
		if len(s.fields) > 16 || sizeOf(s.fields) > 8<<10 || (s.tooLarge || s.malformed) && s.fields != nil {
			t.Errorf("%d fields of %d bytes, %+v", len(s.fields), sizeOf(s.fields), s)
		}
		if s.fields != nil && s.size != sizeOf(s.fields) {
			t.Errorf("size %d, want %d", s.size, sizeOf(s.fields))
		}
	})
}
