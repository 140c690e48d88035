package management_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	wire "github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/telemetry"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/management"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/websock"
)

// pipe is the edge's side of a flow over a net.Conn.
type pipe struct {
	net.Conn

	mu      sync.Mutex
	pending []byte
}

func (p *pipe) Buffer(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = append(p.pending, b...)
	return nil
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	out := append(p.pending, b...)
	p.pending = nil
	p.mu.Unlock()
	if _, err := p.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (p *pipe) CloseWrite() error {
	_, err := p.Write(nil)
	return err
}

func (p *pipe) Abort() { _ = p.Close() }

// tail is a client of a log stream.
type tail struct {
	t     *testing.T
	conn  net.Conn
	ended chan error

	mu     sync.Mutex
	lines  []wire.Line
	pings  int
	closed string // code and reason
	gone   bool
}

// open opens a stream for an actor.
func open(t *testing.T, s *management.Service, actor string) *tail {
	t.Helper()
	_, stream := s.Serve(request(t, token(t, tunnelID, actor, newKey(t))), about, "", true)
	if stream == nil {
		t.Fatal("no stream")
	}
	client, server := net.Pipe()
	c := &tail{t: t, conn: client, ended: make(chan error, 1)}
	p := &pipe{Conn: server}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		c.ended <- stream(ctx, websock.NewMessages(p, server, wire.MaxMessage))
		_ = server.Close()
	}()
	go c.read()
	t.Cleanup(func() { _ = client.Close() })
	return c
}

func (c *tail) read() {
	d := websocket.Decoder{}
	buf := make([]byte, 4096)
	var text []byte
	for {
		n, err := c.conn.Read(buf)
		c.mu.Lock()
		for rest := buf[:n]; len(rest) > 0; {
			ev, used, err := d.Next(rest)
			if err != nil {
				c.t.Errorf("frame of the service: %v", err)
				break
			}
			rest = rest[used:]
			switch {
			case ev.Kind == websocket.Data:
				if text = append(text, ev.Payload...); ev.Last {
					m, err := wire.ParseLogs(text)
					if err != nil {
						c.t.Errorf("message %s: %v", text, err)
					}
					c.lines, text = append(c.lines, m.Logs...), nil
				}
			case ev.Kind == websocket.Control && ev.Opcode == websocket.Ping:
				c.pings++
			case ev.Kind == websocket.Control && ev.Opcode == websocket.Close:
				code, reason, err := websocket.ParseClose(ev.Payload)
				if err != nil {
					c.t.Error(err)
				}
				c.closed = strconv.Itoa(int(code)) + " " + reason
			}
		}
		c.gone = c.gone || err != nil
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// tell sends a message.
func (c *tail) tell(text string) error {
	_, err := c.conn.Write(websocket.AppendMasked(nil, websocket.Text, [4]byte{1, 2, 3, 4}, []byte(text)))
	return err
}

// send sends a message and waits until everything has been done about it; for fake time.
func (c *tail) send(text string) {
	c.t.Helper()
	if err := c.tell(text); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// code gives the code and the reason of the service's close frame.
func (c *tail) code() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// got gives the messages of the lines so far, and forgets them.
func (c *tail) got() string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]string, 0, len(c.lines))
	for _, l := range c.lines {
		out = append(out, l.Level.String()+" "+l.Event.String()+" "+l.Message)
	}
	c.lines = nil
	return strings.Join(out, "\n")
}

func (c *tail) closeText() string {
	synctest.Wait()
	return c.code()
}

func requestsOf(log *slog.Logger) *slog.Logger {
	requests, _ := management.FlowLoggers(log)
	return requests
}

func streamsOf(log *slog.Logger) *slog.Logger {
	_, streams := management.FlowLoggers(log)
	return streams
}

func newService() (*management.Service, *slog.Logger) {
	log := telemetry.Tapped(slog.New(slog.DiscardHandler))
	return management.New(management.Default(), log, nil, nil), log
}

func wantText(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestStreamStartsAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService()
		c := open(t, s, "me")
		log.Info("before the start")
		c.send(`{"type":"stop_streaming"}`)
		c.send(`{"type":"start_streaming"}`)
		log.Debug("a debug line", slog.String(logkey.TunnelID, tunnelID.String()))
		log.Debug("of another tunnel", slog.String(logkey.TunnelID, tunnel.ID{15: 7}.String()))
		requestsOf(log).Debug("a request")
		wantText(t, "lines", c.got(), "debug cloudflared a debug line\ndebug http a request")
		c.send(`{"type":"stop_streaming"}`)
		log.Info("after the stop")
		wantText(t, "lines after the stop", c.got(), "")
		c.send(`{"type":"start_streaming","filters":{"events":["tcp"],"level":"info"}}`)
		requestsOf(log).Error("a request")
		streamsOf(log).Debug("a stream, debug")
		streamsOf(log).Warn("a stream")
		log.Error("the connector")
		wantText(t, "filtered lines", c.got(), "warn tcp a stream")
		c.send(`{"type":"start_streaming"}`)
		log.Info("other filters now")
		wantText(t, "lines after a second start", c.got(), "info cloudflared other filters now")
		_, _ = c.conn.Write(websocket.AppendMasked(nil, websocket.Close, [4]byte{1}, websocket.AppendClose(nil, websocket.CodeNormal, "")))
		if err := <-c.ended; err != nil {
			t.Errorf("the stream ended with %v", err)
		}
		wantText(t, "close", c.closeText(), "1000 ")
	})
}

func TestSecretsStayOutOfTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService()
		c := open(t, s, "me")
		c.send(`{"type":"start_streaming"}`)
		log.Info("dial http://u:hunter2@host", slog.Any(logkey.Headers, map[string]string{"Api-Token": "hunter2"}),
			slog.Group(logkey.Part, slog.Any(logkey.Err, &url.Error{Op: "Get", URL: "http://u:hunter2@host", Err: io.EOF})))
		synctest.Wait()
		c.mu.Lock()
		b, err := json.Marshal(c.lines)
		c.mu.Unlock()
		if err != nil || bytes.Contains(b, []byte("hunter2")) || !bytes.Contains(b, []byte("***")) {
			t.Errorf("lines %s, %v", b, err)
		}
		_ = c.conn.Close()
		<-c.ended
	})
}

func TestOneActorAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService()
		first := open(t, s, "me")
		first.send(`{"type":"start_streaming"}`)
		other := open(t, s, "somebody else")
		other.send(`{"type":"start_streaming"}`)
		wantText(t, "another actor", other.closeText(), "4002 limit exceeded for streaming sessions")
		<-other.ended
		second := open(t, s, "me")
		second.send(`{"type":"start_streaming"}`)
		wantText(t, "the replaced stream", first.closeText(), "1000 context closed")
		<-first.ended
		second.got()
		log.Info("line")
		wantText(t, "the new stream", second.got(), "info cloudflared line")
		s.Close()
		wantText(t, "after the end of the service", second.closeText(), "1000 context closed")
		<-second.ended
		late := open(t, s, "me")
		wantText(t, "a stream after the end", late.closeText(), "1000 context closed")
		<-late.ended
	})
}

func TestStreamLimits(t *testing.T) {
	for text, want := range map[string]string{
		`{"type":"start_streaming","filters":{"level":"loud"}}`: "4001 expected start streaming as first event",
		`{"type":"surprise"}`: `1003 invalid message type was provided: "surprise"`,
		`no JSON`:             "1003 invalid message type was provided: invalid character 'o' in literal null (expecting 'u')",
	} {
		synctest.Test(t, func(t *testing.T) {
			s, _ := newService()
			c := open(t, s, "me")
			c.send(text)
			wantText(t, text, c.closeText(), want)
			<-c.ended
		})
	}
}

func TestIdleStreamsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newService()
		c := open(t, s, "me")
		time.Sleep(4 * time.Minute) //nolint:forbidigo // fake time
		wantText(t, "close after four minutes", c.closeText(), "")
		c.send(`{"type":"start_streaming"}`)
		time.Sleep(time.Hour) //nolint:forbidigo // fake time
		wantText(t, "close while lines are sent", c.closeText(), "")
		if c.pings < 250 {
			t.Errorf("%d pings in an hour", c.pings)
		}
		c.send(`{"type":"stop_streaming"}`)
		time.Sleep(5*time.Minute + time.Second) //nolint:forbidigo // fake time
		wantText(t, "close", c.closeText(), "4003 session was idle for too long")
		<-c.ended
	})
}

// A process that logs faster than a stream may be drops lines, says how many, and never waits.
func TestFloodIsThinnedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService()
		c := open(t, s, "me")
		c.send(`{"type":"start_streaming"}`)
		const perSecond, seconds = 5000, 10
		requests := requestsOf(log)
		for range perSecond * seconds {
			requests.Debug("request")
			time.Sleep(time.Second / perSecond) //nolint:forbidigo // fake time
		}
		time.Sleep(15 * time.Second) //nolint:forbidigo // fake time
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		sent, dropped := 0, 0
		for _, l := range c.lines {
			if n, ok := l.Fields["dropped"].(float64); ok {
				dropped += int(n)
			} else {
				sent++
			}
		}
		if sent+dropped != perSecond*seconds || sent < 180*seconds || sent > 220*seconds+300 {
			t.Errorf("%d lines sent, %d reported as dropped, of %d", sent, dropped, perSecond*seconds)
		}
		_ = c.conn.Close()
	})
}

func TestAStuckClientHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newService()
		_, stream := s.Serve(request(t, token(t, tunnelID, "me", newKey(t))), about, "", true)
		client, server := net.Pipe()
		ended := make(chan error, 1)
		go func() {
			ended <- stream(t.Context(), websock.NewMessages(&pipe{Conn: server}, server, wire.MaxMessage))
		}()
		if _, err := client.Write(websocket.AppendMasked(nil, websocket.Text, [4]byte{}, []byte(`{"type":"start_streaming"}`))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for range 100 {
			log.Info("nobody reads this")
		}
		s.Close()
		if err := <-ended; err == nil {
			t.Error("the stream ended in order")
		}
	})
}
