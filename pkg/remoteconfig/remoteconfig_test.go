package remoteconfig_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/remoteconfig"
)

func TestLinkRoundTrip(t *testing.T) {
	for _, u := range []remoteconfig.Update{{Version: -1}, {Version: 7, Document: []byte(`{}`)}} {
		got, err := remoteconfig.ParseUpdate(u.Append(nil))
		if err != nil || got.Version != u.Version || !bytes.Equal(got.Document, u.Document) {
			t.Errorf("ParseUpdate of %+v: got %+v, %v", u, got, err)
		}
	}
	for _, r := range []remoteconfig.Result{{Applied: -1, Rejection: "why"}, {Applied: 7}} {
		if got, err := remoteconfig.ParseResult(r.Append(nil)); err != nil || got != r {
			t.Errorf("ParseResult of %+v: got %+v, %v", r, got, err)
		}
	}
	long := remoteconfig.Result{Rejection: strings.Repeat("x", 2*remoteconfig.MaxResult)}.Append(nil)
	if len(long) != remoteconfig.MaxResult {
		t.Errorf("a long result has %d bytes, want %d", len(long), remoteconfig.MaxResult)
	}
	if _, err := remoteconfig.ParseUpdate([]byte{0, 0, 0}); !errors.Is(err, remoteconfig.ErrMalformed) {
		t.Errorf("ParseUpdate of 3 bytes: got %v", err)
	}
	if _, err := remoteconfig.ParseResult(nil); !errors.Is(err, remoteconfig.ErrMalformed) {
		t.Errorf("ParseResult of nothing: got %v", err)
	}
}

func TestUnmarshalResult(t *testing.T) {
	for _, c := range []struct {
		json string
		want remoteconfig.Result
	}{
		{`{"lastAppliedVersion":5,"err":null}`, remoteconfig.Result{Applied: 5}},
		{`{"lastAppliedVersion":5}`, remoteconfig.Result{Applied: 5}},
		{`{"lastAppliedVersion":5,"err":"no \"ingress\""}`, remoteconfig.Result{Applied: 5, Rejection: `no "ingress"`}},
		{`{"lastAppliedVersion":5,"err":{}}`, remoteconfig.Result{Applied: 5, Rejection: "{}"}},
		{`{"lastAppliedVersion":5,"err":""}`, remoteconfig.Result{Applied: 5, Rejection: `""`}},
	} {
		if got, err := remoteconfig.UnmarshalResult([]byte(c.json)); err != nil || got != c.want {
			t.Errorf("UnmarshalResult(%s) = %+v, %v, want %+v", c.json, got, err, c.want)
		}
	}
	if _, err := remoteconfig.UnmarshalResult([]byte("{")); !errors.Is(err, remoteconfig.ErrMalformed) {
		t.Errorf("UnmarshalResult of broken JSON: %v", err)
	}
	if _, err := remoteconfig.MarshalUpdate(remoteconfig.Update{Document: []byte("{")}); !errors.Is(err, remoteconfig.ErrMalformed) {
		t.Errorf("MarshalUpdate of broken JSON: %v", err)
	}
}

func TestResultOf(t *testing.T) {
	rejection := &remoteconfig.RejectedError{Reason: "why"}
	for _, c := range []struct {
		name string
		err  error
		want remoteconfig.Result
		ok   bool
	}{
		{"applied", nil, remoteconfig.Result{Applied: 4}, true},
		{"rejected", fmt.Errorf("proxy: %w", rejection), remoteconfig.Result{Applied: 4, Rejection: "why"}, true},
		{"rejected without a reason", &remoteconfig.RejectedError{}, remoteconfig.Result{Applied: 4, Rejection: "no reason given"}, true},
		{"unknown", errors.New("connection lost"), remoteconfig.Result{}, false},
	} {
		if got, ok := remoteconfig.ResultOf(4, c.err); got != c.want || ok != c.ok {
			t.Errorf("%s: got %+v, %v", c.name, got, ok)
		}
	}
}

// An update counts as applied only when its version, or a newer one, is in force.
func TestUnpack(t *testing.T) {
	for _, c := range []struct {
		result remoteconfig.Result
		reason string
	}{
		{remoteconfig.Result{Applied: 4}, ""},
		{remoteconfig.Result{Applied: 5}, ""},
		{remoteconfig.Result{Applied: 3}, "an older version stays in force"},
		{remoteconfig.Result{Applied: 3, Rejection: "why"}, "why"},
		{remoteconfig.Result{Applied: 4, Rejection: "why"}, "why"},
	} {
		applied, err := c.result.Unpack(4)
		var rejected *remoteconfig.RejectedError
		if applied != c.result.Applied || (err == nil) != (c.reason == "") ||
			err != nil && (!errors.As(err, &rejected) || rejected.Reason != c.reason) {
			t.Errorf("%+v: got %d, %v", c.result, applied, err)
		}
	}
}

func FuzzLink(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte("\x00\x00\x00\x07{\"ingress\":[]}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, err := remoteconfig.ParseUpdate(b); err == nil && !bytes.Equal(u.Append(nil), b) {
			t.Errorf("update %x is written back as %x", b, u.Append(nil))
		}
		if r, err := remoteconfig.ParseResult(b); err == nil && len(b) <= remoteconfig.MaxResult && !bytes.Equal(r.Append(nil), b) {
			t.Errorf("result %x is written back as %x", b, r.Append(nil))
		}
	})
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"version":7,"config":{"ingress":[]}}`))
	f.Add([]byte(`{"lastAppliedVersion":5,"err":"why"}`))
	f.Add([]byte(`{"lastAppliedVersion":5,"err":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, err := remoteconfig.UnmarshalUpdate(b); err == nil {
			out, err := remoteconfig.MarshalUpdate(u)
			if err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			if again, err := remoteconfig.UnmarshalUpdate(out); err != nil || again.Version != u.Version {
				t.Errorf("update %s is written back as %s: %v", b, out, err)
			}
		}
		if r, err := remoteconfig.UnmarshalResult(b); err == nil {
			out, err := remoteconfig.MarshalResult(r)
			if err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			if again, err := remoteconfig.UnmarshalResult(out); err != nil || again != r {
				t.Errorf("result %s is written back as %s: %v", b, out, err)
			}
		}
	})
}
