//go:build dropin

package dropin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/tests/harness"
)

// manager asks the management service of a connector through the edge.
type manager struct {
	t *testing.T
	e *harness.Edge
}

func (m manager) token(resource, actor string) string {
	m.t.Helper()
	made, err := m.e.Admin.ManagementToken(m.t.Context(), "peer", resource, actor)
	if err != nil {
		m.t.Fatal(err)
	}
	return made.Token
}

// get sends a request with a token for everything.
func (m manager) get(path string, header http.Header) (*http.Response, string) {
	m.t.Helper()
	target := m.e.URL + path + "?access_token=" + m.token("admin", "me")
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, target, http.NoBody)
	if err != nil {
		m.t.Fatal(err)
	}
	req.Host, req.Header = management.Host, header
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return res, string(b)
}

// stream opens a log stream for an actor.
func (m manager) stream(actor string) *websocket.Conn {
	m.t.Helper()
	target := strings.Replace(m.e.URL, "http", "ws", 1) + "/logs?access_token=" + m.token("logs", actor)
	c, _, err := websocket.Dial(m.t.Context(), target, &websocket.DialOptions{Host: management.Host})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

func tellStream(t *testing.T, c *websocket.Conn, text string) {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// closing reads until the stream ends, and gives code and reason.
func closing(t *testing.T, c *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		_, _, err := c.Read(ctx)
		var closed websocket.CloseError
		if err == nil {
			continue
		}
		if ok := asClose(err, &closed); !ok {
			return err.Error()
		}
		return fmt.Sprintf("%d %s", closed.Code, closed.Reason)
	}
}

func asClose(err error, closed *websocket.CloseError) bool {
	code := websocket.CloseStatus(err)
	if code == -1 {
		return false
	}
	closed.Code = code
	if _, reason, ok := strings.Cut(err.Error(), "reason = \""); ok {
		closed.Reason = strings.TrimSuffix(reason, "\"")
	}
	return true
}

// TestManagement: the vendor's dashboard asks for these.
func TestManagement(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		s.connect(t, e, "--label", "mine", "--grace-period", "1s")
		m := manager{t, e}
		if res, _ := m.get("/ping", nil); res.StatusCode != http.StatusOK {
			t.Errorf("/ping: %d", res.StatusCode)
		}
		res, text := m.get("/host_details", http.Header{"Origin": {"https://dash.cloudflare.com"}})
		var details struct {
			Connector string `json:"connector_id"`
			IP        string
			Hostname  string
		}
		if err := json.Unmarshal([]byte(text), &details); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if details.Hostname != "custom:mine" || details.IP == "" || len(details.Connector) != 36 ||
			res.Header.Get("Access-Control-Allow-Origin") != "https://dash.cloudflare.com" {
			t.Errorf("/host_details: %s, %v", text, res.Header)
		}
		if res, text := m.get("/metrics", nil); res.StatusCode != http.StatusOK || !strings.Contains(text, "build_info") {
			t.Errorf("/metrics: %d %.200s", res.StatusCode, text)
		}
		res, _ = m.get("/debug/pprof/heap", nil)
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("/debug/pprof/heap: %d, %v", res.StatusCode, res.Header)
		}
		if res, _ := m.get("/debug/pprof/cmdline", nil); res.StatusCode != http.StatusNotFound {
			t.Errorf("/debug/pprof/cmdline: %d", res.StatusCode)
		}
	})
}

// TestManagementDiagnosticsOff: an operator can close what shows the inside of the process.
func TestManagementDiagnosticsOff(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		s.connect(t, e, "--management-diagnostics=false", "--grace-period", "1s")
		m := manager{t, e}
		for _, path := range []string{"/metrics", "/debug/pprof/heap"} {
			if res, _ := m.get(path, nil); res.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %d", path, res.StatusCode)
			}
		}
	})
}

// TestLogStream: two lines for each request, as the client filters them, and the codes with which streams end.
func TestLogStream(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		s.connect(t, e, "--grace-period", "1s")
		m := manager{t, e}
		c := m.stream("me")
		tellStream(t, c, `{"type":"stop_streaming"}`)
		tellStream(t, c, `{"type":"start_streaming","filters":{"events":["http"]}}`)
		var mu sync.Mutex
		var lines []management.Line
		ended := make(chan string, 1)
		go func() {
			for {
				_, text, err := c.Read(context.Background())
				if err != nil {
					ended <- err.Error()
					return
				}
				if logs, err := management.ParseLogs(text); err == nil {
					mu.Lock()
					lines = append(lines, logs.Logs...)
					mu.Unlock()
				}
			}
		}()
		var request, response management.Line
		testkit.Retry(t, "the lines of a request", patience, func() error {
			res, err := http.Get(e.URL + "/some/path?x=1")
			if err != nil {
				return err
			}
			_ = res.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			for i := 0; i+1 < len(lines); i++ {
				if strings.HasPrefix(lines[i].Message, "GET ") {
					request, response = lines[i], lines[i+1]
					return nil
				}
			}
			return fmt.Errorf("lines %v", lines)
		})
		if request.Event != management.HTTP || !strings.HasPrefix(request.Message, "GET http") || !strings.HasSuffix(request.Message, " HTTP/1.1") ||
			request.Fields["path"] != "/some/path" || request.Fields["originService"] == nil || request.Fields["ingressRule"] != float64(0) ||
			request.Fields["headers"].(map[string]any)["User-Agent"] == nil || request.Fields["connIndex"] == nil {
			t.Errorf("line of a request: %+v", request)
		}
		if response.Event != management.HTTP || response.Message != "200 OK" || response.Fields["content-length"] == nil {
			t.Errorf("line of a response: %+v", response)
		}
		other := m.stream("somebody else")
		tellStream(t, other, `{"type":"start_streaming"}`)
		if got, want := closing(t, other), "4002 limit exceeded for streaming sessions"; got != want {
			t.Errorf("another actor: %s, want %s", got, want)
		}
		second := m.stream("me")
		tellStream(t, second, `{"type":"start_streaming"}`)
		if got := <-ended; !strings.Contains(got, "context closed") && !s.stock {
			t.Errorf("the replaced stream ended with %s", got)
		}
		third := m.stream("me")
		tellStream(t, third, `{"type":"start_streaming","filters":{"level":"loud"}}`)
		if got, want := closing(t, third), "4001 expected start streaming as first event"; got != want {
			t.Errorf("a start that cannot be read: %s, want %s", got, want)
		}
	})
}

// TestTail: the client shows a request of any connector, ours and stock, and ends at an interrupt.
func TestTail(t *testing.T) {
	e := harness.StartEdge(t)
	each(t, func(t *testing.T, s subject) {
		s.connect(t, e, "--grace-period", "1s")
		m := manager{t, e}
		tail := harness.Start(t, []string{
			"HOME=" + t.TempDir(), "TUNNEL_MANAGEMENT_TOKEN=" + m.token("logs", "me"), "CULVERT_EDGE_URL=" + e.URL,
		}, harness.Binary(t, "culvert"), "tail", "--event", "http")
		testkit.Retry(t, "a line of the client", patience, func() error {
			res, err := http.Get(e.URL + "/seen")
			if err != nil {
				return err
			}
			_ = res.Body.Close()
			if out := tail.Out.String(); !strings.Contains(out, "/seen HTTP/1.1") || !strings.Contains(out, "debug http 200 OK") {
				return fmt.Errorf("the client printed %q", out)
			}
			return nil
		})
		if code := tail.Stop(t, os.Interrupt); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}
