package edge_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
	"github.com/culvert-tunnel/culvert/services/edge"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

var ruleTarget = adminclient.PortTarget{HostName: "ssh.test"}

// wsServer is the server end of a WebSocket, as a connector with a stream service has it.
type wsServer struct {
	st      transport.Stream
	body    io.Reader
	decoder websocket.Decoder
	buf     []byte
	left    []byte
}

// upgrade accepts the WebSocket as our proxy does.
func upgrade(req *stream.Request, body io.Reader, st transport.Stream) *wsServer {
	key := header(req, "Sec-Websocket-Key")
	if req.Type != stream.WebSocket || len(key) != 1 {
		respond(st, "400")
		end(st)
		return nil
	}
	respond(st, "101", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-Websocket-Accept", websocket.AcceptKey(key[0]))
	return &wsServer{st: st, body: body, decoder: websocket.Decoder{Client: true}, buf: make([]byte, 64<<10)}
}

// next returns the next event. Its payload is valid until the next call.
func (s *wsServer) next() (websocket.Event, error) {
	for {
		for len(s.left) > 0 {
			ev, n, err := s.decoder.Next(s.left)
			if err != nil {
				return ev, err
			}
			s.left = s.left[n:]
			if ev.Kind != websocket.More {
				return ev, nil
			}
		}
		n, err := s.body.Read(s.buf)
		if s.left = s.buf[:n]; n == 0 && err != nil {
			return websocket.Event{}, err
		}
	}
}

func (s *wsServer) frame(fin bool, op websocket.Opcode, payload []byte) {
	h := websocket.Header{Fin: fin, Opcode: op, Length: uint64(len(payload))}
	_, _ = s.st.Write(append(h.Append(nil), payload...))
}

// echoWS echoes every byte, then sends a farewell and ends as given.
func echoWS(finish func(s *wsServer)) script {
	return func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		s := upgrade(req, body, st)
		if s == nil {
			return
		}
		for {
			ev, err := s.next()
			if err != nil {
				break
			}
			if ev.Kind == websocket.Data {
				s.frame(true, websocket.Binary, ev.Payload)
			}
		}
		s.frame(true, websocket.Binary, []byte("bye"))
		finish(s)
		end(st)
	}
}

func TestPortToAnIngressRule(t *testing.T) {
	t.Parallel()
	for name, finish := range map[string]func(*wsServer){
		"fin": func(*wsServer) {},
		"close frame": func(s *wsServer) {
			s.frame(true, websocket.Close, websocket.AppendClose(nil, websocket.CodeNormal, ""))
		},
		"no code": func(s *wsServer) { s.frame(true, websocket.Close, nil) },
	} {
		b := start(t, nil)
		b.connect(0, 0, echoWS(finish), featureStreams)
		_, addr := b.port(ruleTarget)
		c := visit(t, addr)
		go func() {
			_, _ = c.Write(pattern(1<<20 + 7))
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, append(pattern(1<<20+7), "bye"...)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		b.stop()
	}
}

func TestPortToAnIngressRuleAsksLikeAClient(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	requests, largest := make(chan stream.Request, 1), make(chan int, 1)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		requests <- stream.Request{Dest: req.Dest, Type: req.Type, Metadata: append([]stream.Pair(nil), req.Metadata...)}
		s := upgrade(req, body, st)
		most, size, total := 0, 0, 0
		var all []byte
		for total < 100_000 {
			ev, err := s.next()
			if err != nil {
				break
			}
			if size += len(ev.Payload); ev.Last {
				most, size = max(most, size), 0
			}
			total += len(ev.Payload)
			all = append(all, ev.Payload...)
		}
		largest <- most
		_, n, err := proxyproto.Parse(all)
		if err != nil || !bytes.Equal(all[n:], pattern(total-n)) {
			st.CancelWrite(0)
			return
		}
		end(st)
	}, featureStreams)
	_, addr := b.port(adminclient.PortTarget{HostName: "SSH.test", ProxyProtocol: "v2"})
	c := visit(t, addr)
	_, _ = c.Write(pattern(100_000))
	_ = c.CloseWrite()
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the origin did not get the header and all bytes: %v", err)
	}
	if n := <-largest; n > 16<<10 {
		t.Errorf("a message of %d bytes, which the reference would cut", n)
	}
	req := <-requests
	ip := c.LocalAddr().String()
	for name, want := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "X-Forwarded-For": "127.0.0.1",
		"Cf-Connecting-Ip": "127.0.0.1",
	} {
		if got := header(&req, name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if req.Dest != "http://ssh.test/" || req.Metadata[0].Val != "GET" || req.Metadata[1].Val != "ssh.test" {
		t.Errorf("request %+v of %s", req, ip)
	}
}

// TestPortKeepsAWebsocketAlive: pings get pongs while the visitor is silent and while it sends a lot.
func TestPortKeepsAWebsocketAlive(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		s := upgrade(req, body, st)
		s.frame(true, websocket.Ping, []byte("one"))
		ev, err := s.next()
		if err != nil || ev.Opcode != websocket.Pong || string(ev.Payload) != "one" {
			st.CancelWrite(0)
			return
		}
		// A message in fragments with a ping between them, a text message, an unsolicited pong, an empty message.
		s.frame(false, websocket.Binary, []byte("a"))
		s.frame(true, websocket.Ping, []byte("two"))
		s.frame(true, websocket.Continuation, []byte("b"))
		s.frame(true, websocket.Text, []byte("c"))
		s.frame(true, websocket.Pong, []byte("three"))
		s.frame(true, websocket.Binary, nil)
		s.frame(true, websocket.Close, websocket.AppendClose(nil, websocket.CodeGoingOff, "bye"))
		for {
			ev, err := s.next()
			if err != nil {
				st.CancelWrite(0)
				return
			}
			if ev.Opcode == websocket.Close {
				code, _, _ := websocket.ParseClose(ev.Payload)
				if code == websocket.CodeGoingOff {
					end(st)
				}
				return
			}
		}
	}, featureStreams)
	_, addr := b.port(ruleTarget)
	c := visit(t, addr)
	if got, err := io.ReadAll(c); string(got) != "abc" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPortWebsocketsThatAreErrors(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	act := make(chan script, 1)
	b.connect(0, 0, func(p *peer, req *stream.Request, body io.Reader, st transport.Stream) { (<-act)(p, req, body, st) }, featureStreams)
	_, addr := b.port(ruleTarget)
	for name, s := range map[string]script{
		"404":       func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) { respond(st, "404"); end(st) },
		"200":       func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) { respond(st, "200"); end(st) },
		"no status": func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) { accept(st); end(st) },
		"wrong accept": func(_ *peer, _ *stream.Request, _ io.Reader, st transport.Stream) {
			respond(st, "101", "Sec-Websocket-Accept", "x")
			end(st)
		},
	} {
		act <- s
		wantRefusal(t, name, addr)
	}
	for name, s := range map[string]func(s *wsServer){
		"garbage": func(s *wsServer) { _, _ = s.st.Write(bytes.Repeat([]byte{0xff}, 100)) },
		"masked": func(s *wsServer) {
			_, _ = s.st.Write(websocket.AppendMasked(nil, websocket.Binary, [4]byte{1}, []byte("x")))
		},
		"cut message": func(s *wsServer) { s.frame(false, websocket.Binary, []byte("x")) },
		"cut frame":   func(s *wsServer) { _, _ = s.st.Write([]byte{0x82, 5, 'a'}) },
		"error code": func(s *wsServer) {
			s.frame(true, websocket.Close, websocket.AppendClose(nil, websocket.CodeInternal, "x"))
		},
		"bad close":     func(s *wsServer) { s.frame(true, websocket.Close, []byte{1}) },
		"stream resets": func(s *wsServer) { s.st.CancelWrite(0) },
	} {
		act <- func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
			w := upgrade(req, body, st)
			s(w)
			end(st)
		}
		wantRefusal(t, name, addr)
	}
}

// TestPortWebsocketWithoutHalfClose: a connector without half-close gets a close frame when the visitor ends.
func TestPortWebsocketWithoutHalfClose(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *edge.Config) { c.Ports.FinHold = 20 * time.Millisecond })
	last := make(chan websocket.Event, 1)
	b.connect(0, 0, func(_ *peer, req *stream.Request, body io.Reader, st transport.Stream) {
		s := upgrade(req, body, st)
		for {
			ev, err := s.next()
			if err != nil || ev.Kind == websocket.Control {
				last <- ev
				end(st)
				return
			}
		}
	})
	_, addr := b.port(ruleTarget)
	c := visit(t, addr)
	_, _ = io.WriteString(c, "x")
	_ = c.CloseWrite()
	ev := <-last
	if code, _, err := websocket.ParseClose(ev.Payload); ev.Opcode != websocket.Close || code != websocket.CodeNormal || err != nil {
		t.Errorf("the connector saw %+v, want a normal close frame", ev)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the end", err)
	}
}
