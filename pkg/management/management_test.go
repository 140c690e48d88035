package management_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/management"
)

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func claims() *management.Claims {
	c := &management.Claims{
		Tunnel:    management.TokenTunnel{ID: "f0000000-0000-4000-8000-000000000001", AccountTag: "account"},
		Actor:     management.Actor{ID: "me", Support: true},
		Resources: []string{management.ResourceLogs},
	}
	c.ExpiresAt = jwt.NewNumericDate(now.Add(time.Hour))
	return c
}

func TestTokens(t *testing.T) {
	key, other := newKey(t), newKey(t)
	text, err := management.Sign(claims(), key)
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(string) (*management.Claims, error){
		"read":            management.ReadToken,
		"check":           func(s string) (*management.Claims, error) { return management.CheckToken(s, &key.PublicKey, now) },
		"check signature": func(s string) (*management.Claims, error) { return management.CheckSignature(s, &key.PublicKey) },
	} {
		got, err := read(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(claims(), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := management.CheckToken(text, &key.PublicKey, now.Add(2*time.Hour)); !errors.Is(err, management.ErrToken) {
		t.Errorf("expired: %v", err)
	}
	if _, err := management.CheckToken(text, &other.PublicKey, now); !errors.Is(err, management.ErrToken) {
		t.Errorf("foreign key: %v", err)
	}
	if _, err := management.CheckSignature(text, &other.PublicKey); !errors.Is(err, management.ErrToken) {
		t.Errorf("foreign key: %v", err)
	}
	forever := claims()
	forever.ExpiresAt = nil
	if text, err = management.Sign(forever, key); err != nil {
		t.Fatal(err)
	}
	if _, err := management.CheckToken(text, &key.PublicKey, now); !errors.Is(err, management.ErrToken) {
		t.Errorf("without an end: %v", err)
	}
}

func TestRequiredClaims(t *testing.T) {
	key := newKey(t)
	for name, spoil := range map[string]func(*management.Claims){
		"tunnel":  func(c *management.Claims) { c.Tunnel.ID = "" },
		"account": func(c *management.Claims) { c.Tunnel.AccountTag = "" },
		"actor":   func(c *management.Claims) { c.Actor.ID = "" },
	} {
		c := claims()
		spoil(c)
		text, err := management.Sign(c, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := management.ReadToken(text); !errors.Is(err, management.ErrToken) {
			t.Errorf("%s missing, read: %v", name, err)
		}
		if _, err := management.CheckSignature(text, &key.PublicKey); !errors.Is(err, management.ErrToken) {
			t.Errorf("%s missing, signature: %v", name, err)
		}
		if _, err := management.CheckToken(text, &key.PublicKey, now); !errors.Is(err, management.ErrToken) {
			t.Errorf("%s missing, check: %v", name, err)
		}
	}
}

func TestOtherAlgorithms(t *testing.T) {
	hs, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims()).SignedString([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims()).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{hs, none, "", "x", "..", strings.Repeat("a", 20<<10), hs + "." + hs} {
		if _, err := management.ReadToken(text); !errors.Is(err, management.ErrToken) {
			t.Errorf("ReadToken(%.40q): %v", text, err)
		}
		if _, err := management.CheckSignature(text, &newKey(t).PublicKey); !errors.Is(err, management.ErrToken) {
			t.Errorf("CheckSignature(%.40q): %v", text, err)
		}
	}
}

func TestKeyText(t *testing.T) {
	key := newKey(t)
	text, err := management.KeyText(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	got, err := management.ParseKey(text)
	if err != nil || !got.Equal(&key.PublicKey) {
		t.Errorf("ParseKey(%q) = %v, %v", text, got, err)
	}
	for _, bad := range []string{"", "!", text[:20], text + "AA"} {
		if _, err := management.ParseKey(bad); !errors.Is(err, management.ErrToken) {
			t.Errorf("ParseKey(%q): %v", bad, err)
		}
	}
}

func TestAllows(t *testing.T) {
	for resource, paths := range map[string][]string{
		management.ResourceLogs:        {"/ping", "/logs", "/host_details"},
		management.ResourceHostDetails: {"/ping", "/host_details"},
		management.ResourceAdmin:       {"/ping", "/logs", "/host_details", "/metrics", "/debug/pprof/heap"},
		"other":                        {"/ping"},
	} {
		c := &management.Claims{Resources: []string{resource}}
		var got []string
		for _, p := range []string{"/ping", "/logs", "/host_details", "/metrics", "/debug/pprof/heap"} {
			if c.Allows(p) {
				got = append(got, p)
			}
		}
		if diff := cmp.Diff(paths, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", resource, diff)
		}
	}
	if (&management.Claims{}).Allows("/ping") {
		t.Error("a token for nothing gives access")
	}
}

func TestParseRequest(t *testing.T) {
	all := `{"type":"start_streaming","filters":{"events":["cloudflared","http","tcp","udp"],"level":"warn","sampling":0.5}}`
	for text, want := range map[string]management.Request{
		`{"type":"start_streaming"}`:                {Type: management.TypeStart},
		`{"type":"start_streaming","filters":null}`: {Type: management.TypeStart},
		`{"type":"stop_streaming","filters":3}`:     {Type: management.TypeStop},
		all: {Type: management.TypeStart, Filters: &management.Filters{
			Events: []management.Event{management.Connector, management.HTTP, management.TCP, management.UDP}, Level: management.Warn, Sampling: 0.5,
		}},
	} {
		got, err := management.ParseRequest([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for text, want := range map[string]error{
		``: management.ErrMessage, `[]`: management.ErrMessage, `{"type":"x"}`: management.ErrMessage, `{}`: management.ErrMessage,
		`{"type":"start_streaming","filters":{"level":"loud"}}`:    management.ErrFilters,
		`{"type":"start_streaming","filters":{"events":["grpc"]}}`: management.ErrFilters,
		`{"type":"start_streaming","filters":{"sampling":"all"}}`:  management.ErrFilters,
	} {
		if _, err := management.ParseRequest([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

func TestFilters(t *testing.T) {
	for _, tc := range []struct {
		f      management.Filters
		l      management.Level
		e      management.Event
		chance float64
		want   bool
	}{
		{management.Filters{}, management.Debug, management.UDP, 0.99, true},
		{management.Filters{Level: management.Warn}, management.Info, management.HTTP, 0, false},
		{management.Filters{Level: management.Warn}, management.Warn, management.HTTP, 0, true},
		{management.Filters{Events: []management.Event{management.TCP}}, management.Error, management.HTTP, 0, false},
		{management.Filters{Events: []management.Event{management.TCP}}, management.Error, management.TCP, 0, true},
		// The share is exact: one percent is one percent.
		{management.Filters{Sampling: 0.01}, management.Debug, management.HTTP, 0.0099, true},
		{management.Filters{Sampling: 0.01}, management.Debug, management.HTTP, 0.01, false},
		{management.Filters{Sampling: 1}, management.Debug, management.HTTP, 0.99, true},
		{management.Filters{Sampling: -3}, management.Debug, management.HTTP, 0.99, true},
		{management.Filters{Sampling: 7}, management.Debug, management.HTTP, 0.99, true},
	} {
		if got := tc.f.Pass(tc.l, tc.e) && tc.f.Sampled(tc.chance); got != tc.want {
			t.Errorf("%+v passes %v %v at %v: %v", tc.f, tc.l, tc.e, tc.chance, got)
		}
	}
}

func TestJoined(t *testing.T) {
	lines := []management.Line{
		{Message: "a", Level: management.Warn, Event: management.TCP, Fields: map[string]any{"k": "]}"}},
		{Message: "b", Fields: map[string]any{"not a number": math.NaN()}}, // JSON has none
		{Message: "c"},
	}
	var messages [][]byte
	for _, l := range lines {
		messages = append(messages, l.Encode())
	}
	lines[1].Fields = nil
	for n := 1; n <= len(lines); n++ {
		got, err := management.ParseLogs(management.Joined(messages[:n]))
		if err != nil || !reflect.DeepEqual(got.Logs, lines[:n]) {
			t.Errorf("%d messages: %+v, %v, want %+v", n, got, err, lines[:n])
		}
	}
}

func TestLines(t *testing.T) {
	m := management.Logs{Type: management.TypeLogs, Logs: []management.Line{{
		Time: management.TimeText(now), Level: management.Warn, Message: "m", Event: management.HTTP, Fields: map[string]any{"a": "b"},
	}}}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"logs","logs":[{"time":"2026-07-01T12:00:00Z","level":"warn","message":"m","event":"http","fields":{"a":"b"}}]}`
	if string(b) != want {
		t.Errorf("message %s, want %s", b, want)
	}
	got, err := management.ParseLogs(b)
	if diff := cmp.Diff(m, got); diff != "" || err != nil {
		t.Errorf("ParseLogs: %v (-want +got):\n%s", err, diff)
	}
	// Stock leaves out what is its zero.
	got, err = management.ParseLogs([]byte(`{"type":"logs","logs":[{"message":"m"}]}`))
	if err != nil || got.Logs[0].Level != management.Debug {
		t.Errorf("ParseLogs: %+v, %v", got, err)
	}
	for _, bad := range []string{"", `{"type":"start_streaming"}`} {
		if _, err := management.ParseLogs([]byte(bad)); err == nil {
			t.Errorf("ParseLogs(%q) succeeded", bad)
		}
	}
}

func FuzzReadToken(f *testing.F) {
	key := newKey(f)
	text, err := management.Sign(claims(), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"tun":{"id":1}}`)) + ".x")
	f.Fuzz(func(t *testing.T, text string) {
		read, err := management.ReadToken(text)
		if checked, cerr := management.CheckSignature(text, &key.PublicKey); cerr == nil {
			if diff := cmp.Diff(read, checked); err != nil || diff != "" {
				t.Errorf("a token with a right signature is read differently: %v\n%s", err, diff)
			}
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"type":"start_streaming","filters":{"events":["http"],"level":"info","sampling":0.1}}`))
	f.Add([]byte(`{"type":"stop_streaming"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := management.ParseRequest(b)
		if err != nil {
			return
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := management.ParseRequest(out)
		if diff := cmp.Diff(r, again); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", out, err, diff)
		}
	})
}

func FuzzParseLogs(f *testing.F) {
	f.Add([]byte(`{"type":"logs","logs":[{"time":"t","level":"warn","message":"m","event":"http","fields":{"a":"b"}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := management.ParseLogs(b); err == nil && m.Type != management.TypeLogs {
			t.Errorf("type %q accepted", m.Type)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	text, err := management.KeyText(&newKey(f).PublicKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text string) {
		key, err := management.ParseKey(text)
		if err != nil {
			return
		}
		again, err := management.KeyText(key)
		if back, perr := management.ParseKey(again); err != nil || perr != nil || !back.Equal(key) {
			t.Errorf("%q became %q: %v, %v", text, again, err, perr)
		}
	})
}
