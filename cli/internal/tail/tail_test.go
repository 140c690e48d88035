package tail_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/cli/internal/tail"
	"github.com/culvert-tunnel/culvert/pkg/management"
)

func newToken(tb testing.TB) string {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	c := &management.Claims{Tunnel: management.TokenTunnel{ID: "t", AccountTag: "a"}, Actor: management.Actor{ID: "me"}}
	c.SetLife("test", time.Now(), time.Now().Add(time.Hour))
	text, err := management.Sign(c, key)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// service is a management service that plays a script.
func service(t *testing.T, play func(ctx context.Context, c *websocket.Conn)) (address string, asked <-chan *http.Request) {
	t.Helper()
	requests := make(chan *http.Request, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		play(r.Context(), c)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, requests
}

const sent = `{"type":"logs","logs":[{"time":"T","message":"first"},` +
	`{"time":"T","level":"warn","message":"a\u001b[2Jb","event":"http","fields":{"x":"<>"}}]}`

func TestLinesArePrinted(t *testing.T) {
	for name, want := range map[string]string{
		"default": "T debug cloudflared first null\nT warn http a?[2Jb {\"x\":\"<>\"}\n",
		"json": `{"time":"T","level":"debug","message":"first","event":"cloudflared"}` + "\n" +
			`{"time":"T","level":"warn","message":"a\u001b[2Jb","event":"http","fields":{"x":"<>"}}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			started := make(chan string, 1)
			address, asked := service(t, func(ctx context.Context, c *websocket.Conn) {
				_, text, err := c.Read(ctx)
				if err != nil {
					t.Error(err)
				}
				started <- string(text)
				_ = c.Write(ctx, websocket.MessageText, []byte(`{"type":"news"}`))
				_ = c.Write(ctx, websocket.MessageText, []byte(sent))
				_ = c.Close(websocket.StatusNormalClosure, "")
			})
			format, err := tail.FormatOf(name)
			if err != nil {
				t.Fatal(err)
			}
			token := newToken(t)
			target := tail.Target{
				Edge: address, Host: "management.test", Token: token, Connector: "F0000000-0000-4000-8000-000000000001", Agent: "me/1", Trace: "x",
			}
			filters := management.Filters{Level: management.Info, Events: []management.Event{management.HTTP}, Sampling: 0.5}
			var out strings.Builder
			if err := tail.Run(t.Context(), target, filters, format, &out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, out.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if got, want := <-started, `{"type":"start_streaming","filters":{"events":["http"],"level":"info","sampling":0.5}}`; got != want {
				t.Errorf("the client sent %s, want %s", got, want)
			}
			r := <-asked
			wantQuery := url.Values{"access_token": {token}, "connector_id": {"f0000000-0000-4000-8000-000000000001"}}
			if diff := cmp.Diff(wantQuery, r.URL.Query()); diff != "" || r.Host != "management.test" || r.URL.Path != "/logs" ||
				r.Header.Get("User-Agent") != "me/1" || r.Header.Get("Cf-Trace-Id") != "x" {
				t.Errorf("request %s %s %v", r.Host, r.URL, r.Header)
			}
		})
	}
}

// The reader decides when the stream ends.
func TestInterruptEndsInOrder(t *testing.T) {
	closed := make(chan websocket.StatusCode, 1)
	ctx, interrupt := context.WithCancel(t.Context())
	address, _ := service(t, func(_ context.Context, c *websocket.Conn) {
		_, _, _ = c.Read(context.Background()) // the start
		interrupt()
		_, _, err := c.Read(context.Background())
		closed <- websocket.CloseStatus(err)
	})
	format, _ := tail.FormatOf("")
	if err := tail.Run(ctx, tail.Target{Edge: address, Token: newToken(t)}, management.Filters{}, format, io.Discard); err != nil {
		t.Error(err)
	}
	if code := <-closed; code != websocket.StatusNormalClosure {
		t.Errorf("the client closed with %d", code)
	}
}

func TestEndsByTheConnector(t *testing.T) {
	format, _ := tail.FormatOf("")
	for want, end := range map[string]struct {
		code   websocket.StatusCode
		reason string
	}{
		"received remote closure: (4002) limit exceeded": {4002, "limit exceeded for streaming sessions"},
		"received remote closure: (4003) session was":    {4003, "session was idle for too long"},
		"another stream of the same actor replaced it":   {1000, "context closed"},
	} {
		address, _ := service(t, func(_ context.Context, c *websocket.Conn) { _ = c.Close(end.code, end.reason) })
		err := tail.Run(t.Context(), tail.Target{Edge: address, Token: newToken(t)}, management.Filters{}, format, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %q", end.code, err, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	format, _ := tail.FormatOf("")
	token := newToken(t)
	for want, response := range map[string]struct {
		status int
		body   string
	}{
		"no connector of this tunnel can be reached":               {530, ""},
		"management request failed validation: (1001) not for you": {400, `{"errors":[{"code":1001,"message":"not for you"}]}`},
		"no log stream: status 404":                                {404, "<html>"},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(response.status)
			_, _ = io.WriteString(w, response.body)
		}))
		err := tail.Run(t.Context(), tail.Target{Edge: srv.URL, Token: token}, management.Filters{}, format, io.Discard)
		srv.Close()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v, want %q", response.status, err, want)
		}
	}
	for want, target := range map[string]tail.Target{
		"access token cannot be read": {Edge: "http://127.0.0.1:1", Token: "x"},
		"is not http(s)://HOST:PORT":  {Edge: "ftp://x", Token: token},
		"--connector-id":              {Token: token, Connector: "x"},
		"connection refused":          {Edge: "http://127.0.0.1:1", Token: token},
	} {
		err := tail.Run(t.Context(), target, management.Filters{}, format, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token) {
			t.Errorf("%v, want %q and no token", err, want)
		}
	}
}

func TestFlags(t *testing.T) {
	var events tail.Events
	for _, text := range []string{"http,tcp", "http", "udp cloudflared", ""} {
		if err := events.Set(text); err != nil {
			t.Errorf("Set(%q): %v", text, err)
		}
	}
	if got := events.String(); got != "http,tcp,udp,cloudflared" {
		t.Errorf("events %q", got)
	}
	if events.Set("grpc") == nil || (*tail.Events)(nil).String() != "" {
		t.Error("an unknown event is accepted")
	}
	f, err := tail.ParseFilters(events, "warn", 0.25)
	if err != nil || f.Level != management.Warn || f.Sampling != 0.25 || len(f.Events) != 4 {
		t.Errorf("filters %+v, %v", f, err)
	}
	for _, sample := range []float64{0, -1, 1.5, math.NaN()} {
		if _, err := tail.ParseFilters(nil, "", sample); err == nil {
			t.Errorf("sample %v accepted", sample)
		}
	}
	if _, err := tail.ParseFilters(nil, "loud", 1); err == nil {
		t.Error("level loud accepted")
	}
	if _, err := tail.FormatOf("xml"); err == nil {
		t.Error("format xml accepted")
	}
}
