package opstoken_test

import (
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func make1(t *testing.T, life time.Duration) (opstoken.Token, string) {
	t.Helper()
	made, secret, err := opstoken.New(opstoken.Wanted{Name: "ci", Scope: opstoken.Operate, Life: life, Author: "ann"}, start, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return made, string([]byte(secret))
}

var start = time.Unix(1_700_000_000, 0).UTC()

// TestToken: only the token itself matches, until it expires, and what is kept does not have it.
func TestToken(t *testing.T) {
	a, text := make1(t, time.Hour)
	b, other := make1(t, 0)
	given, err := opstoken.ParseToken(text)
	if err != nil || given.ID != a.ID {
		t.Fatalf("ParseToken = %+v, %v", given, err)
	}
	kept, err := json.Marshal(a)
	if err != nil || strings.Contains(string(kept), text[strings.LastIndex(text, "_")+1:]) {
		t.Errorf("kept %s, %v", kept, err)
	}
	if back, err := opstoken.Decode(kept); err != nil || cmp.Diff(a, back) != "" {
		t.Errorf("Decode = %+v, %v", back, err)
	}
	second, err := opstoken.ParseToken(other)
	if err != nil {
		t.Fatal(err)
	}
	mixed, err := opstoken.ParseToken("cvt_" + a.ID + other[strings.LastIndex(other, "_"):])
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		token opstoken.Token
		given opstoken.Given
		at    time.Duration
		want  bool
	}{
		"itself":                     {a, given, 0, true},
		"just before it expires":     {a, given, time.Hour - 1, true},
		"expired":                    {a, given, time.Hour, false},
		"another":                    {a, second, 0, false},
		"its id with another secret": {a, mixed, 0, false},
		"one that never expires":     {b, second, 1e6 * time.Hour, true},
	} {
		if got := c.token.Match(c.given, start.Add(c.at)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if len(text) < 60 || a.ID == b.ID || tunnel.Secret(text).String() == text {
		t.Errorf("tokens %s and %s", a.ID, b.ID)
	}
}

func TestBadTokens(t *testing.T) {
	for name, w := range map[string]opstoken.Wanted{
		"no name": {Scope: opstoken.Read}, "a long name": {Name: strings.Repeat("x", 65), Scope: opstoken.Read}, "no scope": {Name: "a"},
		"a control character": {Name: "a\x00", Scope: opstoken.Read}, "a short life": {Name: "a", Scope: opstoken.Read, Life: time.Second},
		"a negative life": {Name: "a", Scope: opstoken.Read, Life: -time.Hour},
	} {
		if _, _, err := opstoken.New(w, start, rand.Reader); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, _, err := opstoken.New(opstoken.Wanted{Name: "a", Scope: opstoken.Read}, start, strings.NewReader("short")); err == nil {
		t.Error("a random source that ends was accepted")
	}
	for _, text := range []string{"", "{}", `{"id":"a","scope":"root","hash":"` + strings.Repeat("0", 64) + `"}`} {
		if _, err := opstoken.Decode([]byte(text)); err == nil {
			t.Errorf("%q was decoded", text)
		}
	}
}

func TestScopes(t *testing.T) {
	want := map[string]bool{
		"read/read": true, "operate/read": true, "operate/operate": true, "admin/read": true, "admin/operate": true, "admin/admin": true,
	}
	all := append(opstoken.Scopes(), "", "root")
	for _, has := range all {
		for _, needs := range all {
			if got := has.Allows(needs); got != want[string(has+"/"+needs)] {
				t.Errorf("%q allows %q: %v", has, needs, got)
			}
		}
	}
	if opstoken.Scope("root").Validate() == nil {
		t.Error("root is a scope")
	}
}

// FuzzParseToken: nothing but the form of a token is accepted, and errors do not repeat what was given.
func FuzzParseToken(f *testing.F) {
	f.Add("cvt_")
	f.Add("cvt_aaaaaaaaaaaaa_" + strings.Repeat("a", 52))
	f.Add("cvt_aaaaaaaaaaaaa_" + strings.Repeat("7", 52))
	f.Fuzz(func(t *testing.T, text string) {
		g, err := opstoken.ParseToken(text)
		if err != nil {
			if err.Error() != opstoken.ErrForm.Error() {
				t.Fatalf("%v", err)
			}
			return
		}
		if len(text) != 4+13+1+52 || len(g.ID) != 13 || !strings.HasPrefix(text, "cvt_"+g.ID+"_") {
			t.Fatalf("%q was accepted", text)
		}
	})
}
