package websock_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/websock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink keeps what is sent to the edge.
type sink struct {
	io.Reader

	mu      sync.Mutex
	pending []byte
	out     []byte
	fin     bool
	aborted bool
	err     error
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.out = append(append(s.out, s.pending...), p...)
	s.pending = nil
	return len(p), nil
}

func (s *sink) Buffer(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, p...)
	return s.err
}

func (s *sink) CloseWrite() error {
	_, err := s.Write(nil)
	s.fin = true
	return err
}

func (s *sink) Abort() { s.aborted = true }

func (s *sink) sent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return hex.EncodeToString(s.out)
}

func masked(op websocket.Opcode, text string) string {
	return string(websocket.AppendMasked(nil, op, [4]byte{1, 2, 3, 4}, []byte(text)))
}

func unhex(t testing.TB, s string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestClientBytes(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		want string
		end  error
		sent string
		fin  bool
	}{
		{"binary", masked(2, "hello"), "hello", nil, "", false},
		{"text", masked(1, "hello"), "hello", nil, "", false},
		{"large", masked(2, strings.Repeat("x", 1<<17)) + masked(2, "y"), strings.Repeat("x", 1<<17) + "y", nil, "", false},
		{"fragments with a ping", unhex(t, "0283010203046e6c66 89810000 000041 80830102030475756c"), "onetwo", nil, "8a0141", false},
		{"pong", masked(10, "x") + masked(2, "y"), "y", nil, "", false},
		{"close", masked(2, "a") + masked(8, "\x03\xe9bye") + masked(2, "late"), "a", nil, "", false},
		{"cut message", masked(2, "hello")[:8], "he", io.ErrUnexpectedEOF, "", false},
		{"cut fragments", masked(2, "x") + unhex(t, "0283010203046e6c66"), "xone", io.ErrUnexpectedEOF, "", false},
		{"unmasked", masked(2, "x") + unhex(t, "820161"), "x", websocket.ErrProtocol, "880203ea", true},
		{"garbage", "GET / HTTP/1.1\r\n\r\n", "", websocket.ErrProtocol, "880203ea", true},
		{"bad close code", masked(8, "\x03\xec"), "", websocket.ErrProtocol, "880203ea", true},
		{"bad close payload", masked(8, "x"), "", websocket.ErrProtocol, "880203ea", true},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": same, "bytes": iotest.OneByteReader,
			"data with end": iotest.DataErrReader,
		} {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				s := &sink{}
				w := websock.NewServer(s, wrap(strings.NewReader(tc.in)), 0)
				got, err := io.ReadAll(w)
				if string(got) != tc.want || !errors.Is(err, tc.end) {
					t.Errorf("read %d bytes %.20q, %v, want %.20q, %v", len(got), got, err, tc.want, tc.end)
				}
				if s.sent() != tc.sent || s.fin != tc.fin {
					t.Errorf("sent %s, fin %v, want %s, %v", s.sent(), s.fin, tc.sent, tc.fin)
				}
				w.Finish()
			})
		}
	}
}

func same(r io.Reader) io.Reader { return r }

func TestOriginBytes(t *testing.T) {
	s := &sink{}
	w := websock.NewServer(s, strings.NewReader(masked(8, "\x0f\xa0")), 0)
	for _, p := range []string{"hello", "", strings.Repeat("z", 200)} {
		if n, err := io.WriteString(w, p); n != len(p) || err != nil {
			t.Errorf("Write(%d bytes) = %d, %v", len(p), n, err)
		}
	}
	if _, err := io.ReadAll(w); err != nil {
		t.Error(err)
	}
	if err := w.CloseWrite(); err != nil {
		t.Error(err)
	}
	if err := w.CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(w, "late"); err == nil {
		t.Error("write after the close frame")
	}
	want := "820568656c6c6f" + "827e00c8" + strings.Repeat("7a", 200) + "88020fa0"
	if s.sent() != want || !s.fin {
		t.Errorf("sent %s, fin %v", s.sent(), s.fin)
	}
	w.Finish()
	w.Abort()
	if !s.aborted {
		t.Error("not aborted")
	}
}

func TestCloseWithoutCode(t *testing.T) {
	s := &sink{}
	w := websock.NewServer(s, strings.NewReader(masked(8, "")), 0)
	_, _ = io.ReadAll(w)
	_ = w.CloseWrite()
	if s.sent() != "8800" {
		t.Errorf("sent %s", s.sent())
	}
}

func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		w := websock.NewServer(s, strings.NewReader(""), 54*time.Second)
		time.Sleep(3*54*time.Second + time.Second) //nolint:forbidigo // fake time
		if s.sent() != "890089008900" {
			t.Errorf("sent %s", s.sent())
		}
		w.Finish()
		time.Sleep(time.Hour) //nolint:forbidigo // fake time
		if s.sent() != "890089008900" {
			t.Errorf("after the end: sent %s", s.sent())
		}
	})
}

func TestPingsStopWithTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{err: errors.New("edge gone")}
		w := websock.NewServer(s, strings.NewReader(masked(9, "x")), time.Second)
		time.Sleep(time.Hour) //nolint:forbidigo // fake time
		if _, err := io.ReadAll(w); !errors.Is(err, s.err) {
			t.Errorf("pong to nobody: %v", err)
		}
		w.Finish()
	})
}

func TestEcho(t *testing.T) {
	for _, tc := range []struct{ name, in, sent string }{
		{"text", masked(1, "hi") + masked(8, "\x03\xe8"), "81026869" + "880203e8"},
		{"fragments", unhex(t, "0283010203046e6c66 80830102030475756c"), "02036f6e65" + "800374776f" + "880203e8"},
		{"empty", masked(2, ""), "8200" + "880203e8"},
		{"ping", masked(9, "x") + masked(10, "y"), "8a0178" + "880203e8"},
		{"no code", masked(8, ""), "8800"},
		{"bad code", masked(8, "\x00\x01"), "880203ea"},
		{"garbage", "GET /", "880203ea"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &sink{}
			if err := websock.Echo(s, strings.NewReader(tc.in)); err != nil {
				t.Error(err)
			}
			if s.sent() != tc.sent || !s.fin {
				t.Errorf("sent %s, fin %v, want %s", s.sent(), s.fin, tc.sent)
			}
		})
	}
	if err := websock.Echo(&sink{}, strings.NewReader(masked(2, "hello")[:7])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut message: %v", err)
	}
	big := strings.Repeat("0123456789", 1<<20)
	s := &sink{}
	if err := websock.Echo(s, strings.NewReader(masked(1, big))); err != nil {
		t.Error(err)
	}
	d := websocket.Decoder{}
	var got bytes.Buffer
	for rest := s.out; len(rest) > 0; {
		ev, n, err := d.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if rest = rest[n:]; ev.Kind == websocket.Data {
			if ev.Opcode != websocket.Text {
				t.Fatal("not text")
			}
			got.Write(ev.Payload)
		}
	}
	if got.String() != big {
		t.Errorf("large message came back with %d bytes", got.Len())
	}
}

func FuzzServer(f *testing.F) {
	f.Add([]byte(masked(2, "hello")+masked(9, "x")+masked(8, "\x03\xe8")), uint8(3))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		s := &sink{}
		w := websock.NewServer(s, bytes.NewReader(b), 0)
		total, p := 0, make([]byte, int(size)+1)
		for {
			n, err := w.Read(p)
			if total += n; err != nil {
				break
			}
		}
		if total > len(b) {
			t.Fatalf("%d bytes of %d", total, len(b))
		}
		w.Finish()
	})
}
