package command

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
)

// fixedNames has the same addresses for every host.
type fixedNames []string

func (n fixedNames) LookupHost(context.Context, string) ([]string, error) {
	if n == nil {
		return nil, errors.New("no such host")
	}
	return n, nil
}

// TestUnheard has a service on one of the addresses of localhost, or on none.
func TestUnheard(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for name, tc := range map[string]struct {
		names fixedNames
		url   string
		want  string // of the only warning; empty is none
	}{
		"all listen":     {fixedNames{"127.0.0.1"}, "http://LOCALHOST:" + port, ""},
		"one listens":    {fixedNames{"127.0.0.9", "127.0.0.1"}, "http://localhost:" + port, "localhost is also 127.0.0.9"},
		"none listens":   {fixedNames{"127.0.0.8", "127.0.0.9"}, "http://localhost:" + port, "nobody listens on port " + port},
		"no address":     {nil, "http://localhost:" + port, "localhost has no address"},
		"another origin": {fixedNames{"127.0.0.9"}, "http://127.0.0.1:" + port, ""},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := url.Parse(tc.url)
			if err != nil {
				t.Fatal(err)
			}
			got := unheard(t.Context(), tc.names, u)
			if (len(got) == 0) != (tc.want == "") || len(got) > 1 || len(got) == 1 && !strings.HasPrefix(got[0], tc.want) {
				t.Errorf("warnings %q, want %q", got, tc.want)
			}
		})
	}
}
