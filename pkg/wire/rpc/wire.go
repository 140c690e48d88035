package rpc

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	capnp "capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc/transport"
	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"
)

// Limits for a peer.
const (
	// MaxMessage is the largest RPC message that is read, in bytes with its framing.
	MaxMessage = 4 << 20
	// maxSegments is the number of segments of a message that the reference accepts at most.
	maxSegments = 512 + 1
	// maxOutstanding bounds our messages that are still in memory because the peer has neither finished its calls nor read
	// the returns. A control stream needs a handful.
	maxOutstanding = 64
	// readFactor bounds how often, on average, a message's bytes may be visited while it is handled.
	readFactor = 8
	// readChunk is how much memory is allocated for a message before its bytes have arrived.
	readChunk = 64 << 10
)

const wordSize = 8

// Errors of a stream whose peer violates the protocol.
var (
	errSegments    = errors.New("message with too many segments")
	errTooLarge    = errors.New("message too large")
	errOutstanding = errors.New("too many unfinished calls")
	errUnknownCall = errors.New("return for an unknown call")
)

// wire carries RPC messages over a byte stream for the library. It differs from the library's own transport in four
// points: memory grows with the bytes that arrived, not with the size that the peer announced; a message leaves in one
// write; outgoing messages have one segment, as the library's growing multi-segment arena refuses pointers into
// segments that it handed out earlier; and only messages that guard lets pass reach the library.
type wire struct {
	rw io.ReadWriteCloser
	in *bufio.Reader
	// receiving is held while a message is read.
	receiving sync.Mutex
	guard     guard

	outstanding atomic.Int32
	// closing is set when this end closes the connection.
	closing atomic.Bool
	// broken is closed when nothing more can be received.
	broken chan struct{}

	sending sync.Mutex
	// pending has the ids of our calls that were sent completely and have no return yet. sending guards it and is held
	// during a write.
	pending map[uint32]struct{}

	mu sync.Mutex
	// cause is why the connection ended, io.EOF when the peer ended it in order; mu guards it.
	cause error
}

var _ transport.Transport = (*wire)(nil)

func newWire(rw io.ReadWriteCloser) *wire {
	return &wire{
		rw:      rw,
		in:      bufio.NewReader(rw),
		guard:   newGuard(),
		broken:  make(chan struct{}),
		pending: make(map[uint32]struct{}),
	}
}

// NewMessage makes an empty outgoing message.
func (w *wire) NewMessage() (transport.OutgoingMessage, error) {
	_, seg, err := capnp.NewMessage(capnp.SingleSegment(nil))
	if err != nil {
		return nil, fmt.Errorf("new message: %w", err)
	}
	m, err := rpccp.NewRootMessage(seg)
	if err != nil {
		return nil, fmt.Errorf("new message: %w", err)
	}
	w.outstanding.Add(1)
	return &outgoing{wire: w, message: m}, nil
}

// RecvMessage reads the next message that the library needs. The library does not call it again after an error.
func (w *wire) RecvMessage() (transport.IncomingMessage, error) {
	w.receiving.Lock()
	defer w.receiving.Unlock()
	for {
		m, pass, err := w.receive()
		if err != nil {
			w.fail(err)
			close(w.broken)
			return nil, err
		}
		if m.Which() == rpccp.Message_Which_abort {
			w.fail(io.EOF)
		}
		if pass {
			return &incoming{message: m}, nil
		}
		m.Message().Release()
	}
}

// Close closes the stream, which ends pending reads and writes.
func (w *wire) Close() error { return w.rw.Close() }

// wait returns when the stream is not read any more. Call it after Close.
func (w *wire) wait() {
	w.receiving.Lock()
	defer w.receiving.Unlock()
}

// fail records the reason of the connection's end. Only the first one counts, and none after this end has closed it.
func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause == nil && !w.closing.Load() {
		w.cause = err
	}
}

// ended gives the reason that fail recorded.
func (w *wire) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}

// receive reads one message and reports whether the library gets it.
func (w *wire) receive() (m rpccp.Message, pass bool, err error) {
	if w.outstanding.Load() > maxOutstanding {
		return rpccp.Message{}, false, errOutstanding
	}
	b, err := w.read()
	if err != nil {
		return rpccp.Message{}, false, err
	}
	if m, err = decode(b); err != nil {
		return rpccp.Message{}, false, err
	}
	if pass, err = w.guard.check(m); err != nil {
		return rpccp.Message{}, false, err
	}
	return m, pass, w.checkReturned(m)
}

func decode(b []byte) (rpccp.Message, error) {
	msg, err := capnp.Unmarshal(b)
	if err != nil {
		return rpccp.Message{}, fmt.Errorf("message framing: %w", err)
	}
	msg.TraverseLimit = uint64(len(b))*readFactor + readChunk
	m, err := rpccp.ReadRootMessage(msg)
	if err != nil {
		return rpccp.Message{}, fmt.Errorf("message root: %w", err)
	}
	if !m.IsValid() {
		return rpccp.Message{}, errEmpty
	}
	return m, nil
}

// read reads one framed message. The error is io.EOF only between two messages.
func (w *wire) read() ([]byte, error) {
	b := make([]byte, wordSize, readChunk/16)
	if _, err := io.ReadFull(w.in, b); err != nil {
		return nil, err
	}
	last := binary.LittleEndian.Uint32(b)
	if last >= maxSegments {
		return nil, errSegments
	}
	segments := int(last) + 1
	head := (4 + 4*segments + wordSize - 1) &^ (wordSize - 1)
	b, err := w.extend(b, head)
	if err != nil {
		return nil, err
	}
	words := uint64(0)
	for i := range segments {
		words += uint64(binary.LittleEndian.Uint32(b[4+4*i:]))
	}
	if words == 0 {
		return nil, errEmpty
	}
	if words > uint64(MaxMessage-head)/wordSize {
		return nil, errTooLarge
	}
	return w.extend(b, head+int(words)*wordSize)
}

// extend reads until b has size bytes, in steps that at most double the memory in use.
func (w *wire) extend(b []byte, size int) ([]byte, error) {
	for len(b) < size {
		step := min(size-len(b), max(len(b), readChunk))
		start := len(b)
		b = slices.Grow(b, step)[:start+step]
		if _, err := io.ReadFull(w.in, b[start:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return b, nil
}

// send writes one message. The library ends every connection with an abort, which also carries violations that it has found.
// A peer that has ended the connection gets none.
func (w *wire) send(m rpccp.Message) error {
	if m.Which() == rpccp.Message_Which_abort {
		w.fail(abortReason(m))
		if errors.Is(w.ended(), io.EOF) {
			return nil
		}
	}
	b, err := m.Message().Marshal()
	if err != nil {
		return fmt.Errorf("message: %w", err)
	}
	w.sending.Lock()
	defer w.sending.Unlock()
	if _, err := w.rw.Write(b); err != nil {
		return err
	}
	if id, ok := callID(m); ok {
		w.pending[id] = struct{}{}
	}
	return nil
}

// checkReturned rejects a return for a call that was not sent. The library registers a call before it sends it; a return
// that arrives before that, followed by a failure to send, makes the library panic.
func (w *wire) checkReturned(m rpccp.Message) error {
	if m.Which() != rpccp.Message_Which_return {
		return nil
	}
	ret, err := m.Return()
	if err != nil {
		return fmt.Errorf("return: %w", err)
	}
	w.sending.Lock()
	defer w.sending.Unlock()
	if _, ok := w.pending[ret.AnswerId()]; !ok {
		return errUnknownCall
	}
	delete(w.pending, ret.AnswerId())
	return nil
}

// callID gives the id of a message that expects a return.
func callID(m rpccp.Message) (uint32, bool) {
	switch m.Which() {
	case rpccp.Message_Which_bootstrap:
		if b, err := m.Bootstrap(); err == nil {
			return b.QuestionId(), true
		}
	case rpccp.Message_Which_call:
		if c, err := m.Call(); err == nil {
			return c.QuestionId(), true
		}
	default:
	}
	return 0, false
}

func abortReason(m rpccp.Message) error {
	e, err := m.Abort()
	if err != nil {
		return err
	}
	reason, err := e.Reason()
	if err != nil {
		return err
	}
	return errors.New(reason)
}

// outgoing is one message of ours.
type outgoing struct {
	wire     *wire
	message  rpccp.Message
	released atomic.Bool
}

func (o *outgoing) Send() error            { return o.wire.send(o.message) }
func (o *outgoing) Message() rpccp.Message { return o.message }

func (o *outgoing) Release() {
	if o.released.CompareAndSwap(false, true) {
		o.message.Message().Release()
		o.wire.outstanding.Add(-1)
	}
}

// incoming is one message of the peer.
type incoming struct {
	message  rpccp.Message
	released atomic.Bool
}

func (i *incoming) Message() rpccp.Message { return i.message }

func (i *incoming) Release() {
	if i.released.CompareAndSwap(false, true) {
		i.message.Message().Release()
	}
}
