package dispatch

import (
	"context"
	"errors"
	"io"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// maxHeadBytes bounds the encoded head of a response: the largest header that the edge can be set to accept, with room for the
// encoding.
const maxHeadBytes = 2 << 20

// Open opens a stream on a connection and writes the head of a request. The stream is aborted when ctx ends, unless unwatch
// was called before; unwatch reports false when it is too late.
func Open(ctx context.Context, conn *registry.Conn, head []byte) (st transport.Stream, unwatch func() bool, f *Failure) {
	st, err := conn.Session.OpenStream(ctx)
	if err != nil {
		return nil, nil, &Failure{Kind: Lost, Detail: err.Error(), Retry: true}
	}
	unwatch = context.AfterFunc(ctx, func() { transport.Abort(st) })
	if n, err := st.Write(head); err != nil {
		unwatch()
		transport.Abort(st)
		return nil, nil, &Failure{Kind: Lost, Detail: err.Error(), Retry: n < len(head)}
	}
	return st, unwatch, nil
}

// Input is what was read of a stream already.
type Input struct {
	Bytes []byte
	// Ended says that the stream ends behind Bytes.
	Ended bool
}

// ReadHead reads from st, behind what is in already, until the head of a response is complete, and parses it into resp. It
// returns what came behind the head. buf is room to read into; Bytes may be part of it, and so may the result.
func ReadHead(st io.Reader, buf []byte, already Input, resp *stream.Response) (rest Input, err error) {
	if len(already.Bytes) > len(buf) {
		buf = make([]byte, len(already.Bytes))
	}
	have := copy(buf, already.Bytes)
	resp.Error, resp.Metadata = "", resp.Metadata[:0]
	var rerr error
	if already.Ended {
		rerr = io.EOF
	}
	for read := have == 0; ; read = true {
		if read && !already.Ended {
			if have == len(buf) {
				buf = append(buf, make([]byte, max(len(buf), minRead))...)
			}
			var n int
			n, rerr = st.Read(buf[have:])
			have += n
		}
		used, perr := stream.ParseResponseLimit(buf[:have], resp, maxHeadBytes)
		switch {
		case perr == nil:
			if rerr != nil && rerr != io.EOF {
				return Input{}, rerr
			}
			return Input{Bytes: buf[used:have], Ended: rerr != nil}, nil
		case !errors.Is(perr, stream.ErrShort):
			return Input{}, errors.Join(ErrResponse, perr)
		case rerr == io.EOF:
			return Input{}, errors.Join(ErrResponse, io.ErrUnexpectedEOF)
		case rerr != nil:
			return Input{}, rerr
		}
	}
}

// minRead is the room for a read when the caller gives none.
const minRead = 4 << 10
