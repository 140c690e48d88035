package opener

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
)

func newPump(r io.Reader) *pump {
	return &pump{
		from: io.NopCloser(r), pieces: make(chan piece), taken: make(chan struct{}), stop: make(chan struct{}),
		unwatch: func() bool { return true },
	}
}

func TestPumpGivesTheBodyAsItIs(t *testing.T) {
	defer goleak.VerifyNone(t)
	text := strings.Repeat("0123456789", 3*pieceSize/10)
	for name, r := range map[string]io.Reader{
		"whole":        strings.NewReader(text),
		"bytes":        iotest.OneByteReader(strings.NewReader(text[:100])),
		"end with it":  iotest.DataErrReader(strings.NewReader(text)),
		"small pieces": iotest.HalfReader(strings.NewReader(text)),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPump(r)
			want := text
			if name == "bytes" {
				want = text[:100]
			}
			if got, err := io.ReadAll(iotest.OneByteReader(p)); string(got) != want || err != nil {
				t.Errorf("read %d bytes, %v, want %d", len(got), err, len(want))
			}
			if n, err := p.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("read after the end = %d, %v", n, err)
			}
		})
	}
}

func TestPumpPassesErrors(t *testing.T) {
	want := errors.New("broken")
	got, err := io.ReadAll(newPump(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(want))))
	if string(got) != "abc" || !errors.Is(err, want) {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestPumpCloseBreaksARead(t *testing.T) {
	defer goleak.VerifyNone(t)
	r, w := io.Pipe()
	p := newPump(r)
	began := make(chan struct{})
	done := make(chan error)
	go func() {
		close(began)
		_, err := p.Read(make([]byte, 10))
		done <- err
	}()
	<-began
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, errBodyClosed) {
		t.Errorf("read after Close = %v", err)
	}
	_ = p.Close() // twice is fine
	_ = w.Close() // the owner of the body breaks the read below
}

func TestRequestsWithoutBodyPass(t *testing.T) {
	tr := interruptible{&http.Transport{}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:1/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := tr.RoundTrip(req); err == nil {
		_ = res.Body.Close()
		t.Error("port 1 answered")
	}
}
