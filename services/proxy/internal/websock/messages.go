package websock

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
)

// Codes of close frames that Messages sends by itself (RFC 6455 7.4.1).
const (
	codeData   websocket.Code = 1003
	codeTooBig websocket.Code = 1009
)

// ErrNotText says that a message is not text.
var ErrNotText = errors.New("message is not text")

// CloseError is the close frame of a client.
type CloseError struct {
	Code   websocket.Code
	Reason string
}

// Error names the code.
func (e *CloseError) Error() string {
	return fmt.Sprintf("websocket closed by the client with code %d", e.Code)
}

// Messages is the server's end of a websocket that carries text messages. One goroutine may read while others write. It starts no
// goroutine.
type Messages struct {
	s    Stream
	from io.Reader
	max  int

	// The reading side.
	dec  websocket.Decoder
	buf  []byte
	rest []byte // of buf, read and not decoded yet
	end  error  // of the edge's bytes

	mu     sync.Mutex // held while writing
	closed bool
}

const readSize = 4 << 10

// NewMessages begins right behind the head of the response. from gives the client's bytes; a message of more than max bytes ends the
// websocket.
func NewMessages(s Stream, from io.Reader, maxMessage int) *Messages {
	return &Messages{s: s, from: from, max: maxMessage, dec: websocket.Decoder{Client: true}, buf: make([]byte, readSize)}
}

// Next gives the next message. A close frame is a CloseError and has been responded to; any other error ends the websocket, too, with a
// close frame if the client broke the protocol or sent something else than text.
func (m *Messages) Next() (text []byte, err error) {
	for {
		for len(m.rest) > 0 {
			ev, n, err := m.dec.Next(m.rest)
			if err != nil {
				return nil, errors.Join(err, m.Close(websocket.CodeProtocol, ""))
			}
			m.rest = m.rest[n:]
			switch ev.Kind {
			case websocket.Data:
				if ev.Opcode != websocket.Text {
					return nil, errors.Join(ErrNotText, m.Close(codeData, ErrNotText.Error()))
				}
				if len(text)+len(ev.Payload) > m.max {
					return nil, errors.Join(fmt.Errorf("message of more than %d bytes", m.max), m.Close(codeTooBig, "message too large"))
				}
				if text = append(text, ev.Payload...); ev.Last {
					return text, nil
				}
			case websocket.Control:
				if err := m.control(ev); err != nil {
					return nil, err
				}
			case websocket.More:
			}
		}
		if m.end != nil {
			return nil, m.end
		}
		var n int
		n, m.end = m.from.Read(m.buf)
		m.rest = m.buf[:n]
	}
}

// control responds to a control frame; an error ends the reading side.
func (m *Messages) control(ev websocket.Event) error {
	switch ev.Opcode {
	case websocket.Ping:
		return m.send(websocket.AppendControl(nil, websocket.Pong, ev.Payload))
	case websocket.Close:
		code, reason, err := websocket.ParseClose(ev.Payload)
		if err != nil {
			return errors.Join(err, m.Close(websocket.CodeProtocol, ""))
		}
		return errors.Join(&CloseError{code, reason}, m.Close(code, ""))
	default: // a pong needs no response
		return nil
	}
}

// Send sends each text as a message, all in one piece.
func (m *Messages) Send(texts ...[]byte) error {
	var out []byte
	for _, text := range texts {
		h := websocket.Header{Fin: true, Opcode: websocket.Text, Length: uint64(len(text))}
		out = append(h.Append(out), text...)
	}
	return m.send(out)
}

// Ping sends a ping.
func (m *Messages) Ping() error { return m.send(websocket.AppendControl(nil, websocket.Ping, nil)) }

func (m *Messages) send(frames []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	_, err := m.s.Write(frames)
	return err
}

// Close sends a close frame and FIN. Only the first call counts.
func (m *Messages) Close(code websocket.Code, reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	payload := websocket.AppendClose(nil, code, reason)
	if err := m.s.Buffer(websocket.AppendControl(nil, websocket.Close, payload)); err != nil {
		return err
	}
	return m.s.CloseWrite()
}

// Abort resets the flow, so that a pending call returns; after a close frame it only stops reading.
func (m *Messages) Abort() { m.s.Abort() }
