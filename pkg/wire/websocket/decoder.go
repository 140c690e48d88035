package websocket

import "errors"

// Kind says what an Event is.
type Kind uint8

// The kinds of events.
const (
	// More: all bytes were used, and no event is complete yet.
	More Kind = iota
	// Data: a piece of a message.
	Data
	// Control: a complete control frame.
	Control
)

// Event is what a Decoder found.
type Event struct {
	Kind Kind
	// Opcode is the opcode of the control frame, or Text or Binary for a piece of a message.
	Opcode Opcode
	// Payload is unmasked. Of Data it is part of the bytes given to Next, in place; of Control it is the decoder's own and
	// valid until the next call.
	Payload []byte
	// Last says that the piece ends its message. Only a message's end may come with an empty payload.
	Last bool
}

// Decoder parses the frames of one direction. The zero value expects the frames of a server, which are not masked.
type Decoder struct {
	// Client says that the frames are those of a client, all masked.
	Client bool

	h       Header
	at      uint64 // position in the payload of h
	inFrame bool
	message Opcode // of the unfinished message, 0 between messages
	partial [MaxHeader]byte
	held    int // bytes in partial
	control [MaxControl]byte
	err     error // sticky
}

// Next uses bytes from the beginning of b and gives their number. Call it again with the rest until all are used. After an
// error, which is always ErrProtocol, it always gives that error.
func (d *Decoder) Next(b []byte) (ev Event, n int, err error) {
	if d.err != nil {
		return Event{}, 0, d.err
	}
	if !d.inFrame {
		n, d.err = d.header(b)
		if d.err != nil {
			return Event{}, n, d.err
		}
		if !d.inFrame {
			return Event{}, n, nil
		}
		b = b[n:]
	}
	take := int(min(uint64(len(b)), d.h.Length-d.at))
	payload := b[:take]
	if d.h.Masked {
		Mask(payload, d.h.Key, d.at)
	}
	if d.h.Opcode.IsControl() {
		copy(d.control[d.at:], payload)
	}
	d.at += uint64(take)
	d.inFrame = d.at < d.h.Length
	return d.event(payload), n + take, nil
}

// event makes the event for a piece of the current frame's payload.
func (d *Decoder) event(payload []byte) Event {
	if d.h.Opcode.IsControl() {
		if d.inFrame {
			return Event{}
		}
		return Event{Kind: Control, Opcode: d.h.Opcode, Payload: d.control[:d.h.Length], Last: true}
	}
	ev := Event{Kind: Data, Opcode: d.message, Payload: payload, Last: !d.inFrame && d.h.Fin}
	if ev.Last {
		d.message = 0
	} else if len(payload) == 0 {
		return Event{}
	}
	return ev
}

// header parses the header of a frame; inFrame is set when it is complete.
func (d *Decoder) header(b []byte) (n int, err error) {
	src, had := b, d.held
	if had > 0 {
		copy(d.partial[had:], b)
		src = d.partial[:min(had+len(b), MaxHeader)]
	}
	h, size, err := ParseHeader(src)
	if errors.Is(err, ErrShort) {
		if had == 0 {
			copy(d.partial[:], b)
		}
		d.held += len(b)
		return len(b), nil
	}
	if err == nil {
		err = d.admit(h)
	}
	if err != nil {
		return 0, err
	}
	d.held = 0
	return size - had, nil
}

// admit begins the frame if it may come now.
func (d *Decoder) admit(h Header) error {
	switch {
	case d.Client && !h.Masked:
		return violation("unmasked frame of a client")
	case !d.Client && h.Masked:
		return violation("masked frame of a server")
	case h.Opcode.IsControl():
	case h.Opcode == Continuation && d.message == 0:
		return violation("continuation of no message")
	case h.Opcode != Continuation && d.message != 0:
		return violation("new message within another one")
	case h.Opcode != Continuation:
		d.message = h.Opcode
	}
	d.h, d.at, d.inFrame = h, 0, true
	return nil
}

// InMessage reports whether a message, or a frame, has begun and not ended: bytes that end here are cut short.
func (d *Decoder) InMessage() bool { return d.inFrame || d.message != 0 || d.held > 0 }
