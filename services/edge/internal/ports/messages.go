package ports

import (
	"crypto/rand"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
)

// maxMessage is the largest message that every connector accepts whole: the reference drops the rest of a larger one
// (docs/spec/ingress.md 8.3).
const maxMessage = 16 << 10

// messages is the codec of WebSockets. This end is the client; each piece of the visitor's bytes is one binary message.
//
// A WebSocket has no half-close. Where the connector supports half-close (docs/extensions.md), FIN without a close frame
// ends the visitor's direction alone; elsewhere a close frame ends both. The connector ends its direction by a close frame
// or by FIN between two messages.
type messages struct {
	st        *tunnelEnd
	halfClose bool
	decoder   websocket.Decoder

	mu     sync.Mutex // held while a frame is written; guards closed
	closed bool       // no frame may follow

	// Control frames get their replies from other goroutines: the reader of the response must never wait for a write.
	replies  sync.WaitGroup
	replying atomic.Bool
}

func newMessages(st *tunnelEnd, halfClose bool) *messages {
	return &messages{st: st, halfClose: halfClose}
}

func (m *messages) room() (front, most int) { return websocket.MaxHeader, maxMessage }

// send masks b in place.
func (m *messages) send(b []byte) error {
	payload := b[websocket.MaxHeader:]
	h := websocket.Header{Fin: true, Opcode: websocket.Binary, Masked: true, Key: newKey(), Length: uint64(len(payload))}
	var room [websocket.MaxHeader]byte
	head := h.Append(room[:0])
	frame := b[websocket.MaxHeader-len(head):]
	copy(frame, head)
	websocket.Mask(payload, h.Key, 0)
	return m.write(frame, false)
}

func newKey() (key [4]byte) {
	_, _ = rand.Read(key[:]) // never fails: crypto/rand ends the process instead
	return key
}

// write sends one frame. No frame may follow the last one.
func (m *messages) write(frame []byte, last bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return &transport.StreamError{Code: transport.NoError, Remote: true} // as if the peer had stopped reading
	}
	m.closed = last
	_, err := m.st.Write(frame)
	return err
}

func (m *messages) end() error {
	if !m.halfClose {
		frame := websocket.AppendMasked(nil, websocket.Close, newKey(), websocket.AppendClose(nil, websocket.CodeNormal, ""))
		if err := m.write(frame, true); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return m.st.CloseWrite()
}

func (m *messages) receive(b []byte, f func([]byte) error) error {
	for len(b) > 0 {
		ev, n, err := m.decoder.Next(b)
		if err != nil {
			return err
		}
		b = b[n:]
		switch {
		case ev.Kind == websocket.Data && len(ev.Payload) > 0:
			err = f(ev.Payload)
		case ev.Kind == websocket.Control:
			err = m.control(ev)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// control replies to a control frame. A close frame ends the response, with io.EOF when its code means an orderly end.
func (m *messages) control(ev websocket.Event) error {
	switch ev.Opcode {
	case websocket.Ping:
		if m.replying.CompareAndSwap(false, true) { // one reply to several pings is enough
			frame := websocket.AppendMasked(nil, websocket.Pong, newKey(), ev.Payload)
			m.replies.Go(func() {
				_ = m.write(frame, false) // the next write of data fails as well
				m.replying.Store(false)
			})
		}
		return nil
	case websocket.Close:
		code, reason, err := websocket.ParseClose(ev.Payload)
		if err != nil {
			return err
		}
		frame := websocket.AppendMasked(nil, websocket.Close, newKey(), websocket.AppendClose(nil, code, ""))
		m.replies.Go(func() { _ = m.write(frame, true) }) // if it fails, the stream is over in any case
		switch code {
		case websocket.CodeNormal, websocket.CodeGoingOff, websocket.CodeNone:
			return io.EOF
		default:
			return fmt.Errorf("websocket closed with code %d: %q", code, reason)
		}
	default:
		return nil // an unsolicited pong
	}
}

func (m *messages) ended() error {
	if m.decoder.InMessage() {
		return fmt.Errorf("websocket: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// wait gives the last replies to control frames time to be written.
func (m *messages) wait() {
	_ = m.st.SetWriteDeadline(time.Now().Add(lingerTimeout)) // fails only on a dead stream, where no write waits
	m.replies.Wait()
}
