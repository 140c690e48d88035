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

// maxMessage is the largest message that every connector takes whole: the reference loses what is beyond it
// (docs/spec/ingress.md 8.3).
const maxMessage = 16 << 10

// messages is the codec of websockets: this end is the client, and each piece of the visitor's bytes one binary message.
//
// A websocket has no half-close. Where the connector knows streams of ours, FIN without a close frame says that the
// visitor has ended, and the answer goes on; elsewhere a close frame ends all. The connector ends the answer by a close
// frame or by FIN between two messages.
type messages struct {
	st        *leg
	halfClose bool
	decoder   websocket.Decoder

	mu     sync.Mutex // held while a frame is written; guards closed
	closed bool       // no frame may follow

	// Control frames are answered beside the flow of data: who reads the answer must never wait for who sends.
	replies  sync.WaitGroup
	replying atomic.Bool
}

func newMessages(st *leg, halfClose bool) *messages { return &messages{st: st, halfClose: halfClose} }

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
	_, _ = rand.Read(key[:]) // crypto/rand ends the process rather than fail
	return key
}

// write sends one frame, the last one or not.
func (m *messages) write(frame []byte, last bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return &transport.StreamError{Code: transport.NoError, Remote: true} // as a peer that has stopped reading
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

// control answers a control frame; a close frame ends the answer, as io.EOF when it says that all went well.
func (m *messages) control(ev websocket.Event) error {
	switch ev.Opcode {
	case websocket.Ping:
		if m.replying.CompareAndSwap(false, true) { // of several pings one needs an answer
			frame := websocket.AppendMasked(nil, websocket.Pong, newKey(), ev.Payload)
			m.replies.Go(func() {
				_ = m.write(frame, false) // an error shows where the data flows
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
		m.replies.Go(func() { _ = m.write(frame, true) }) // the stream is over; its end says the rest
		switch code {
		case websocket.CodeNormal, websocket.CodeGoingOff, websocket.CodeNone:
			return io.EOF
		default:
			return fmt.Errorf("websocket closed with code %d: %q", code, reason)
		}
	default:
		return nil // an unasked pong
	}
}

func (m *messages) ended() error {
	if m.decoder.InMessage() {
		return fmt.Errorf("websocket: %w", io.ErrUnexpectedEOF)
	}
	return nil
}

// wait lets the last answers to control frames go out, but not for long.
func (m *messages) wait() {
	_ = m.st.SetWriteDeadline(time.Now().Add(lingerTimeout)) // fails only on a dead stream, where nothing waits
	m.replies.Wait()
}
