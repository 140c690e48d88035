package push_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/link/push"
)

func TestRoundTrip(t *testing.T) {
	for _, r := range []push.Request{{Version: -1}, {Version: 7, Config: []byte(`{}`)}} {
		got, err := push.ParseRequest(r.Append(nil))
		if err != nil || got.Version != r.Version || !bytes.Equal(got.Config, r.Config) {
			t.Errorf("%+v: got %+v, %v", r, got, err)
		}
	}
	for _, a := range []push.Answer{{Applied: -1, Error: "why"}, {Applied: 7}} {
		if got, err := push.ParseAnswer(a.Append(nil)); err != nil || got != a {
			t.Errorf("%+v: got %+v, %v", a, got, err)
		}
	}
	long := push.Answer{Error: strings.Repeat("x", 2*push.MaxAnswer)}.Append(nil)
	if len(long) != push.MaxAnswer {
		t.Errorf("an answer of %d bytes", len(long))
	}
	if _, err := push.ParseRequest([]byte{0, 0, 0}); !errors.Is(err, push.ErrShort) {
		t.Errorf("got %v", err)
	}
	if _, err := push.ParseAnswer(nil); !errors.Is(err, push.ErrShort) {
		t.Errorf("got %v", err)
	}
}

func FuzzPush(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte("\x00\x00\x00\x07{\"ingress\":[]}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := push.ParseRequest(b); err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Errorf("request %x comes back as %x", b, r.Append(nil))
		}
		if a, err := push.ParseAnswer(b); err == nil && len(b) <= push.MaxAnswer && !bytes.Equal(a.Append(nil), b) {
			t.Errorf("answer %x comes back as %x", b, a.Append(nil))
		}
	})
}
