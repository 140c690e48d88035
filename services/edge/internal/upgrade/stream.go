package upgrade

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/services/edge/internal/backlog"
)

const (
	// closeTimeout is how long a visitor has to close a connection whose other direction has ended.
	closeTimeout = 2 * time.Second
	// rearmFraction is the fraction of a timeout that may pass before a deadline is moved: to move it costs more than to
	// read the clock, and a timeout need not be exact.
	rearmFraction = 4
)

// ErrVisitorGone means that the visitor went away, or read nothing for too long.
var ErrVisitorGone = errors.New("visitor gone")

// Connector is the connector's end of a stream.
type Connector struct {
	Conn   backlog.Conn
	Stream transport.Stream
	// HalfClose says that the connector goes on sending after FIN.
	HalfClose bool
}

// Stream carries the bytes of an upgraded stream: one goroutine per direction, the caller's and one more.
type Stream struct {
	streams *Streams
	from    Visitor
	visitor visitorEnd // set by Accept
	via     backlog.Conn
	st      transport.Stream

	halfClose bool // the connector goes on sending after FIN
	upDone    chan struct{}
	// limited says that one direction has ended, so that the silence of the other one is bounded.
	limited atomic.Bool
	// upEnded says that the visitor ended its direction in an orderly way, and left that it broke off.
	upEnded, left atomic.Bool
}

// Accept tells the visitor that its handshake was accepted. h is the header of the connector's response, which Accept changes,
// and rest what the connector sent behind it.
func (s *Stream) Accept(h http.Header, rest []byte) (err error) {
	s.visitor, err = s.from.accept(h, rest)
	return err
}

// Run carries bytes until both directions are done. fin says that the connector has ended its direction already.
func (s *Stream) Run(fin bool) error {
	go s.up()
	var err error
	if !fin {
		err = s.down()
	}
	if err == nil {
		s.finish()
		return nil
	}
	transport.Abort(s.st)
	s.visitor.abort()
	<-s.upDone
	if s.left.Load() || errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.Join(ErrVisitorGone, err)
	}
	return err
}

// Close gives the place of the stream back.
func (s *Stream) Close() { s.streams.remove(s) }

// down carries what the connector sends, until it ends its side.
func (s *Stream) down() error {
	buf := s.streams.buffers.Buffer()
	defer buf.Free()
	tracked := s.streams.backlog.Begin(s.via, s.visitor.abortWrite)
	defer tracked.End()
	var armed time.Time
	for {
		b := buf.Next()
		n, err := s.st.Read(b)
		buf.Took(n)
		if n > 0 {
			tracked.WriteStarted()
			if _, werr := s.visitor.Write(b[:n]); werr != nil {
				return errors.Join(ErrVisitorGone, werr)
			}
			tracked.WriteDone(n)
		}
		switch {
		case err == io.EOF: //nolint:errorlint // the bare value is the contract of io.Reader
			return nil
		case err != nil:
			return err
		}
		armed = s.rearm(armed, func(t time.Time) { _ = s.st.SetReadDeadline(t) }) // fails only on a dead stream
	}
}

// up carries what the visitor sends, until it ends its side.
func (s *Stream) up() {
	defer close(s.upDone)
	buf := s.streams.buffers.Buffer()
	defer buf.Free()
	var armed, writeArmed time.Time
	for {
		b := buf.Next()
		n, err := s.visitor.Read(b)
		buf.Took(n)
		if n > 0 {
			writeArmed = s.armWrite(writeArmed)
			if _, werr := s.st.Write(b[:n]); werr != nil {
				s.writeFailed(werr)
				return
			}
		}
		switch {
		case err == io.EOF: //nolint:errorlint // the bare value is the contract of io.Reader
			s.visitorEnded()
			return
		case err != nil:
			s.left.Store(true)
			transport.Abort(s.st) // ends the read of down
			return
		}
		armed = s.rearm(armed, s.visitor.limitRead)
	}
}

// armWrite bounds how long a write to the connector may make no progress. It returns when the deadline was moved last.
func (s *Stream) armWrite(last time.Time) time.Time {
	idle := s.streams.cfg.WriteTimeout
	now := time.Now()
	if idle <= 0 || now.Sub(last) < idle/rearmFraction {
		return last
	}
	_ = s.st.SetWriteDeadline(now.Add(idle)) // fails only on a dead stream, where the next write fails as well
	return now
}

// rearm moves the deadline of a direction that goes on after the other one has ended.
func (s *Stream) rearm(last time.Time, set func(time.Time)) time.Time {
	limit := s.streams.cfg.HalfCloseTimeout
	if limit <= 0 || !s.limited.Load() {
		return last
	}
	now := time.Now()
	if now.Sub(last) < limit/rearmFraction {
		return last
	}
	set(now.Add(limit))
	return now
}

// visitorEnded passes the end of the visitor's direction on, unless the connector would end the whole stream with it
// (docs/spec/wire.md 5.5).
func (s *Stream) visitorEnded() {
	s.upEnded.Store(true)
	if s.halfClose {
		_ = s.st.CloseWrite() // fails only on a dead stream, where the read of down fails as well
	}
	s.limitDown()
}

// writeFailed handles a connector that reads no more. It may still send, unless it is stuck.
func (s *Stream) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		transport.Abort(s.st)
		return
	}
	s.limitDown()
}

func (s *Stream) limitDown() {
	s.limited.Store(true)
	if d := s.streams.cfg.HalfCloseTimeout; d > 0 {
		_ = s.st.SetReadDeadline(time.Now().Add(d)) // fails only on a dead stream, where the next read fails as well
	}
}

// finish passes the end of the connector's direction on. The visitor may go on sending if both ends support half-close.
func (s *Stream) finish() {
	limit := closeTimeout
	if s.halfClose {
		limit = s.streams.cfg.HalfCloseTimeout
	}
	if s.visitor.endWrite() {
		if limit > 0 {
			s.limited.Store(s.halfClose)
			s.visitor.limitRead(time.Now().Add(limit))
		}
		<-s.upDone
	} else {
		s.visitor.close()
		s.st.CancelWrite(transport.NoError) // ends the write of up
		<-s.upDone
	}
	if s.upEnded.Load() {
		_ = s.st.CloseWrite() // fails only on a dead stream, which needs no FIN
	} else {
		s.st.CancelWrite(transport.NoError)
	}
	s.visitor.close()
}
