package websock

import (
	"io"

	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
)

// echoSize is the size of the pieces that Echo works with.
const echoSize = 16 << 10

// Echo sends every message back, text as text, until the client closes. An error means that the stream has not ended in
// order.
func Echo(s Stream, from io.Reader) error {
	e := &echo{s: s, dec: websocket.Decoder{Client: true}}
	buf := make([]byte, echoSize)
	for {
		n, err := from.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			ev, used, derr := e.dec.Next(rest)
			if derr != nil {
				return e.close(websocket.CodeProtocol)
			}
			rest = rest[used:]
			if done, err := e.respond(ev); done || err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && e.dec.InMessage():
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return e.close(websocket.CodeNormal)
		case err != nil:
			return err
		}
	}
}

// echo is one run of Echo.
type echo struct {
	s      Stream
	dec    websocket.Decoder
	inside bool // a message has begun
}

// respond echoes an event.
func (e *echo) respond(ev websocket.Event) (done bool, err error) {
	switch {
	case ev.Kind == websocket.Data:
		op := ev.Opcode
		if e.inside {
			op = websocket.Continuation
		}
		e.inside = !ev.Last
		h := websocket.Header{Fin: ev.Last, Opcode: op, Length: uint64(len(ev.Payload))}
		if err := e.s.Buffer(h.Append(nil)); err != nil {
			return false, err
		}
		_, err := e.s.Write(ev.Payload)
		return false, err
	case ev.Kind != websocket.Control:
	case ev.Opcode == websocket.Ping:
		_, err := e.s.Write(websocket.AppendControl(nil, websocket.Pong, ev.Payload))
		return false, err
	case ev.Opcode == websocket.Close:
		code, _, err := websocket.ParseClose(ev.Payload)
		if err != nil {
			code = websocket.CodeProtocol
		}
		return true, e.close(code)
	}
	return false, nil
}

func (e *echo) close(code websocket.Code) error {
	if err := e.s.Buffer(websocket.AppendControl(nil, websocket.Close, websocket.AppendClose(nil, code, ""))); err != nil {
		return err
	}
	return e.s.CloseWrite()
}
