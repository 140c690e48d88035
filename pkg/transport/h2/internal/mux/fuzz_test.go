package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted is a connection whose peer sends the given bytes and accepts everything.
type scripted struct {
	net.Conn
	in *bytes.Reader
}

func (s *scripted) Read(p []byte) (int, error)         { return s.in.Read(p) }
func (s *scripted) Write(p []byte) (int, error)        { return len(p), nil }
func (s *scripted) SetWriteDeadline(t time.Time) error { return nil }
func (s *scripted) Close() error                       { return nil }

func testConfig(role Role, incoming func(*Stream)) Config {
	return Config{
		Role: role, StreamWindow: 64 << 10, MaxStreamWindow: 64 << 10, ConnWindow: 1 << 20, MaxFrame: 16 << 10,
		Headers: httpfield.Limits{MaxFields: 64, MaxBytes: 16 << 10}, HeaderBudget: 64 << 10,
		MaxStreams: 100, OutBuffer: 64 << 10, Incoming: incoming,
	}
}

// frames gives the bytes of frames for the corpus.
func frames(write func(fr *http2.Framer)) []byte {
	var b bytes.Buffer
	write(http2.NewFramer(&b, nil))
	return b.Bytes()
}

func encoded(pairs ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return b.Bytes()
}

// FuzzServer feeds a server whatever an edge may send. The connection must end with an error of its own, and no stream may stay usable.
func FuzzServer(f *testing.F) {
	get := encoded(":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/")
	for _, write := range []func(fr *http2.Framer){
		func(fr *http2.Framer) { _ = fr.WriteSettings() },
		func(fr *http2.Framer) {
			_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get, EndHeaders: true})
			_ = fr.WriteData(1, false, []byte("hello"))
			_ = fr.WriteDataPadded(1, true, []byte("x"), make([]byte, 9))
			_ = fr.WriteWindowUpdate(1, 100)
		},
		func(fr *http2.Framer) {
			_ = fr.WriteSettings()
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get[:3]})
			_ = fr.WriteContinuation(1, true, get[3:])
			_ = fr.WriteRSTStream(1, http2.ErrCodeCancel)
			_ = fr.WritePing(false, [8]byte{1})
			_ = fr.WriteGoAway(0, http2.ErrCodeNo, []byte("bye"))
		},
		func(fr *http2.Framer) {
			_ = fr.WriteSettings()
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: get, EndHeaders: true})
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: encoded("x-t", "1"), EndHeaders: true, EndStream: true})
		},
	} {
		f.Add(frames(write))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		drive(t, Server, append([]byte(http2.ClientPreface), b...))
	})
}

// FuzzClient does the same with a client and what a connector may send.
func FuzzClient(f *testing.F) {
	ok := encoded(":status", "200", "x", "y")
	for _, write := range []func(fr *http2.Framer){
		func(fr *http2.Framer) {
			_ = fr.WriteSettings()
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encoded(":status", "103"), EndHeaders: true})
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: ok, EndHeaders: true})
			_ = fr.WriteData(1, false, []byte("hello"))
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encoded("grpc-status", "0"), EndHeaders: true, EndStream: true})
		},
		func(fr *http2.Framer) {
			_ = fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
			_ = fr.WriteData(1, true, []byte("early"))
			_ = fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: ok, EndHeaders: true})
		},
	} {
		f.Add(frames(write))
	}
	f.Fuzz(func(t *testing.T, b []byte) { drive(t, Client, b) })
}

// drive runs a connection over a script, with an application that reads everything. At the end no decoded header may be left
// in the budget.
func drive(t *testing.T, role Role, script []byte) {
	t.Helper()
	streams := make(chan *Stream, 200)
	c := New(t.Context(), &scripted{in: bytes.NewReader(script)}, testConfig(role, func(s *Stream) {
		select {
		case streams <- s:
		default:
			s.Reset(http2.ErrCodeRefusedStream)
		}
	}))
	if role == Client {
		if s, err := c.Open(t.Context()); err == nil {
			if s.SendHead([]Field{{Name: ":method", Value: "GET"}}, false, false) == nil {
				streams <- s
			}
		}
	}
	<-c.Context().Done()
	c.Close(http2.ErrCodeNo, "")
	for {
		select {
		case s := <-streams:
			buf := make([]byte, 1024)
			for {
				if _, err := s.Read(buf); err != nil {
					break
				}
			}
			if _, err := s.Write(buf, true); err == nil {
				t.Error("write to a dead connection")
			}
			_ = s.CloseWrite(nil)
			s.Reset(http2.ErrCodeCancel)
		default:
			if held := c.heldHeaders.Load(); held != 0 {
				t.Errorf("%d bytes of headers are still counted", held)
			}
			if err := c.over(); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("connection ended with %v", err)
			}
			return
		}
	}
}
