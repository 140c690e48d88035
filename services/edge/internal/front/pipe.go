package front

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// headBuffer collects a head that is written at once.
type headBuffer = bytes.Buffer

// visitorEnd is the visitor's end of an upgraded stream. Its writes are bounded in time.
type visitorEnd interface {
	io.ReadWriter
	// endWrite ends the direction to the visitor alone, if that can be done.
	endWrite() bool
	// cut ends a write that the visitor does not take.
	cut()
	// limitRead bounds how long reads may wait.
	limitRead(t time.Time)
	closer
}

// closer ends everything: abort so that the visitor sees it was cut, close in peace. Both wake a reader.
type closer interface {
	abort()
	close()
}

// pipe carries the bytes of an upgraded stream: one goroutine per direction, the caller's and one more.
type pipe struct {
	front     *Front
	conn      *registry.Conn
	visitor   visitorEnd
	st        transport.Stream
	halfClose bool // the connector takes an end of the visitor's side alone
	upDone    chan struct{}

	// limited says that a direction has ended, so that the other one may not be silent for ever.
	limited atomic.Bool
	// upEnded says that the visitor ended its side in peace, and left that it broke off.
	upEnded, left atomic.Bool
}

// run returns when both directions are done; fin says that nothing comes from the connector any more.
func (p *pipe) run(fin bool) result {
	go p.up()
	var err error
	if !fin {
		err = p.down()
	}
	if err == nil {
		p.finish()
		return resultServed
	}
	cancelStream(p.st)
	p.visitor.abort()
	<-p.upDone
	if p.left.Load() || errors.Is(err, errVisitorGone) || errors.Is(err, os.ErrDeadlineExceeded) {
		return resultAborted
	}
	return resultBroken
}

// errVisitorGone says that the visitor takes nothing any more.
var errVisitorGone = errors.New("visitor gone")

// down carries what the connector sends, until it ends its side.
func (p *pipe) down() error {
	buf := p.front.pipes.Buffer()
	defer buf.Free()
	waiting := p.front.deps.Backlog.Begin(p.conn, p.visitor.cut)
	defer waiting.End()
	var armed time.Time
	for {
		b := buf.Next()
		n, err := p.st.Read(b)
		buf.Took(n)
		if n > 0 {
			waiting.Waits()
			if _, werr := p.visitor.Write(b[:n]); werr != nil {
				return errors.Join(errVisitorGone, werr)
			}
			waiting.Took(n)
		}
		switch {
		case err == io.EOF: //nolint:errorlint // the bare value is the contract of io.Reader
			return nil
		case err != nil:
			return err
		}
		armed = p.rearm(armed, func(t time.Time) { _ = p.st.SetReadDeadline(t) }) // fails only on a dead stream
	}
}

// up carries what the visitor sends, until it ends its side.
func (p *pipe) up() {
	defer close(p.upDone)
	buf := p.front.pipes.Buffer()
	defer buf.Free()
	var armed, writeArmed time.Time
	for {
		b := buf.Next()
		n, err := p.visitor.Read(b)
		buf.Took(n)
		if n > 0 {
			writeArmed = p.armWrite(writeArmed)
			if _, werr := p.st.Write(b[:n]); werr != nil {
				p.refused(werr)
				return
			}
		}
		switch {
		case err == io.EOF: //nolint:errorlint // the bare value is the contract of io.Reader
			p.visitorEnded()
			return
		case err != nil:
			p.left.Store(true)
			cancelStream(p.st) // wakes down
			return
		}
		armed = p.rearm(armed, p.visitor.limitRead)
	}
}

// armWrite bounds how long the connector may take nothing.
func (p *pipe) armWrite(last time.Time) time.Time {
	idle := p.front.cfg.BodyIdleTimeout
	now := time.Now()
	if idle <= 0 || now.Sub(last) < idle/rearmPart {
		return last
	}
	_ = p.st.SetWriteDeadline(now.Add(idle)) // fails only on a dead stream, which the next write tells
	return now
}

// rearm moves the bound of a direction that goes on after the other one has ended.
func (p *pipe) rearm(last time.Time, set func(time.Time)) time.Time {
	limit := p.front.cfg.HalfCloseTimeout
	if limit <= 0 || !p.limited.Load() {
		return last
	}
	now := time.Now()
	if now.Sub(last) < limit/rearmPart {
		return last
	}
	set(now.Add(limit))
	return now
}

// visitorEnded passes the end on, or keeps it back from a connector that would end the answer with it
// (docs/spec/wire.md 5.5).
func (p *pipe) visitorEnded() {
	p.upEnded.Store(true)
	if p.halfClose {
		_ = p.st.CloseWrite() // fails only on a dead stream, which down sees
	}
	p.limitDown()
}

// refused: the connector takes no more. It may still have something to say, unless it is stuck.
func (p *pipe) refused(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		cancelStream(p.st)
		return
	}
	p.limitDown()
}

func (p *pipe) limitDown() {
	p.limited.Store(true)
	if d := p.front.cfg.HalfCloseTimeout; d > 0 {
		_ = p.st.SetReadDeadline(time.Now().Add(d)) // fails only on a dead stream, which the next read tells
	}
}

// finish ends a stream whose connector has said all: the visitor is told, and may go on if both can take that.
func (p *pipe) finish() {
	limit := lingerTimeout // for the visitor to close, too
	if p.halfClose {
		limit = p.front.cfg.HalfCloseTimeout
	}
	if p.visitor.endWrite() {
		if limit > 0 {
			p.limited.Store(p.halfClose)
			p.visitor.limitRead(time.Now().Add(limit))
		}
		<-p.upDone
	} else {
		p.visitor.close()
		p.st.CancelWrite(transport.NoError) // wakes up
		<-p.upDone
	}
	if p.upEnded.Load() {
		_ = p.st.CloseWrite() // fails only on a dead stream, which needs no end
	} else {
		p.st.CancelWrite(transport.NoError)
	}
	p.visitor.close()
}
