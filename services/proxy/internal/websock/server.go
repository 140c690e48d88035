package websock

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
)

// Stream is the edge's side of the flow; a link.Stream is one.
type Stream interface {
	io.Reader
	io.Writer
	// Buffer keeps p to travel with the next Write.
	Buffer(p []byte) error
	CloseWrite() error
	Abort()
}

var errClosed = errors.New("websocket closed")

// Server is the byte stream within a websocket.
type Server struct {
	s     Stream
	from  io.Reader
	every time.Duration

	// The reading side.
	dec websocket.Decoder
	err error // sticky

	// closeReply is the payload of the close frame that responds to the client's.
	closeReply atomic.Pointer[[]byte]

	mu     sync.Mutex // held while writing; guards the rest
	closed bool
	over   bool
	beat   *time.Timer
	head   [websocket.MaxHeader]byte
}

// NewServer begins right behind the head of the response. from gives the client's bytes; a ping is sent every so often, never
// with 0.
func NewServer(s Stream, from io.Reader, every time.Duration) *Server {
	w := &Server{s: s, from: from, every: every, dec: websocket.Decoder{Client: true}}
	if every > 0 {
		w.mu.Lock() // the timer's function may run before it is known
		defer w.mu.Unlock()
		w.beat = time.AfterFunc(every, w.ping)
	}
	return w
}

// Read gives the payload of the client's messages. io.EOF is a close frame, or the edge's FIN between messages.
func (w *Server) Read(p []byte) (int, error) {
	for {
		if w.err != nil {
			return 0, w.err
		}
		n, err := w.from.Read(p)
		var out int
		out, w.err = w.unpack(p[:n])
		if w.err == nil {
			w.err = w.streamEnd(err)
		}
		if out > 0 {
			return out, nil
		}
	}
}

// streamEnd returns the error for the end of the edge's bytes: io.EOF is an orderly end only between two messages.
func (w *Server) streamEnd(err error) error {
	if err == io.EOF && w.dec.InMessage() { //nolint:errorlint // only the bare value is FIN
		return io.ErrUnexpectedEOF
	}
	return err
}

// unpack moves the payload of b's frames to its start, and does what its control frames ask for.
func (w *Server) unpack(b []byte) (out int, err error) {
	for rest := b; len(rest) > 0; {
		ev, n, err := w.dec.Next(rest)
		if err != nil {
			w.refuse()
			return out, err
		}
		rest = rest[n:]
		switch ev.Kind {
		case websocket.Data:
			out += copy(b[out:], ev.Payload)
		case websocket.Control:
			if err := w.control(ev); err != nil {
				return out, err
			}
		case websocket.More:
		}
	}
	return out, nil
}

// control responds to a control frame; an error ends the reading side.
func (w *Server) control(ev websocket.Event) error {
	switch ev.Opcode {
	case websocket.Ping:
		return w.send(websocket.AppendControl(nil, websocket.Pong, ev.Payload))
	case websocket.Close:
		code, _, err := websocket.ParseClose(ev.Payload)
		if err != nil {
			w.refuse()
			return err
		}
		payload := websocket.AppendClose(nil, code, "")
		w.closeReply.Store(&payload)
		return io.EOF
	default: // a pong needs no response
		return nil
	}
}

// Write sends p as one binary message.
func (w *Server) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, errClosed
	}
	h := websocket.Header{Fin: true, Opcode: websocket.Binary, Length: uint64(len(p))}
	if err := w.s.Buffer(h.Append(w.head[:0])); err != nil {
		return 0, err
	}
	return w.s.Write(p)
}

func (w *Server) send(frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil // nothing may follow a close frame
	}
	_, err := w.s.Write(frame)
	return err
}

// CloseWrite sends the close frame, with the client's code if it has closed, and FIN.
func (w *Server) CloseWrite() error {
	payload := websocket.AppendClose(nil, websocket.CodeNormal, "")
	if p := w.closeReply.Load(); p != nil {
		payload = *p
	}
	return w.close(payload)
}

// refuse closes the websocket because the client broke the protocol.
func (w *Server) refuse() {
	_ = w.close(websocket.AppendClose(nil, websocket.CodeProtocol, "")) // the stream ends in any case
}

func (w *Server) close(payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	if err := w.s.Buffer(websocket.AppendControl(nil, websocket.Close, payload)); err != nil {
		return err
	}
	return w.s.CloseWrite()
}

// Abort resets the flow; after a close frame it only stops reading.
func (w *Server) Abort() { w.s.Abort() }

// ping is the timer's function.
func (w *Server) ping() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.closed {
		return
	}
	if _, err := w.s.Write(websocket.AppendControl(nil, websocket.Ping, nil)); err == nil {
		w.beat.Reset(w.every)
	}
}

// Finish stops the pings and waits for one under way. Nothing is sent after it. A ping that the edge does not take holds it
// up, so abort first if the stream has not ended in order.
func (w *Server) Finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over, w.closed = true, true
	if w.beat != nil {
		w.beat.Stop()
	}
}
