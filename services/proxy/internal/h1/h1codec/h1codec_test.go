package h1codec_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1/h1codec"
)

func TestScannerEnforcesItsLimits(t *testing.T) {
	for name, tc := range map[string]struct {
		raw  string
		want error
	}{
		"bytes":         {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", maxBytes) + "\r\n\r\n", h1codec.ErrHeadTooLarge},
		"bytes, no end": {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", maxBytes), h1codec.ErrHeadTooLarge},
		"lines":         {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxLines+1) + "\r\n", httpfield.ErrTooManyFields},
	} {
		if _, _, err := scan(t, tc.raw, 1000); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestFieldsEnforceTheirLimits(t *testing.T) {
	text := strings.Repeat("A: b\r\n", 3) + "\r\n"
	if _, err := h1codec.ParseFields(text, 3, httpfield.Limits{MaxFields: 2, MaxBytes: 1 << 10}); !errors.Is(err, httpfield.ErrTooManyFields) {
		t.Errorf("three fields where two are allowed: %v", err)
	}
}

func TestMalformedHeadsAreQuotedInPart(t *testing.T) {
	_, _, err := scan(t, strings.Repeat("z", 1000)+"\n", 1<<10)
	var malformed *h1codec.MalformedError
	if !errors.As(err, &malformed) || len(err.Error()) > 200 {
		t.Errorf("error %v, want a short MalformedError", err)
	}
}

func TestTrailersBeginWithAField(t *testing.T) {
	d := h1codec.Dechunker{Limits: httpfield.DefaultLimits()}
	body := []byte("0\r\n folded: x\r\n\r\n")
	size, err := d.Step(body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Step(body[size:]); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a trailer section that begins with a continuation line: %v", err)
	}
}
