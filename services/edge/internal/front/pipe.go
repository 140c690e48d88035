package front

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/services/edge/internal/dispatch"
	"github.com/culvert-tunnel/culvert/services/edge/internal/registry"
)

// visitorEnd is the visitor's end of an upgraded stream. Its writes are bounded in time.
type visitorEnd interface {
	io.ReadWriter
	// endWrite ends the direction to the visitor alone, if that can be done.
	endWrite() bool
	// abortWrite ends a write that makes no progress.
	abortWrite()
	// limitRead sets the deadline of reads.
	limitRead(t time.Time)
	closer
}

// closer ends both directions: abort so that the visitor sees an error, close in an orderly way. Both wake a reader.
type closer interface {
	abort()
	close()
}

// pipe carries the bytes of an upgraded stream: one goroutine per direction, the caller's and one more.
type pipe struct {
	front     *Front
	addr      netip.Addr // of the visitor
	via       *registry.Conn
	visitor   visitorEnd
	st        transport.Stream
	halfClose bool // the connector goes on sending after FIN
	upDone    chan struct{}

	// limited says that one direction has ended, so that the silence of the other one is bounded.
	limited atomic.Bool
	// upEnded says that the visitor ended its direction in an orderly way, and left that it broke off.
	upEnded, left atomic.Bool
}

// run returns when both directions are done; fin says that the connector has ended its
// direction already.
func (p *pipe) run(fin bool) ending {
	go p.up()
	var err error
	if !fin {
		err = p.down()
	}
	if err == nil {
		p.finish()
		return served
	}
	dispatch.Abort(p.st)
	p.visitor.abort()
	<-p.upDone
	if p.left.Load() || errors.Is(err, errVisitorGone) || errors.Is(err, os.ErrDeadlineExceeded) {
		return aborted
	}
	return truncated
}

// errVisitorGone says that a write to the visitor failed.
var errVisitorGone = errors.New("visitor gone")

// down carries what the connector sends, until it ends its side.
func (p *pipe) down() error {
	buf := p.front.pipes.Buffer()
	defer buf.Free()
	tracked := p.front.deps.Backlog.Begin(p.via, p.visitor.abortWrite)
	defer tracked.End()
	var armed time.Time
	for {
		b := buf.Next()
		n, err := p.st.Read(b)
		buf.Took(n)
		if n > 0 {
			tracked.WriteStarted()
			if _, werr := p.visitor.Write(b[:n]); werr != nil {
				return errors.Join(errVisitorGone, werr)
			}
			tracked.WriteDone(n)
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
				p.writeFailed(werr)
				return
			}
		}
		switch {
		case err == io.EOF: //nolint:errorlint // the bare value is the contract of io.Reader
			p.visitorEnded()
			return
		case err != nil:
			p.left.Store(true)
			dispatch.Abort(p.st) // wakes down
			return
		}
		armed = p.rearm(armed, p.visitor.limitRead)
	}
}

// armWrite bounds how long a write to the connector may make no progress. It returns when the deadline was moved last.
func (p *pipe) armWrite(last time.Time) time.Time {
	idle := p.front.cfg.BodyIdleTimeout
	now := time.Now()
	if idle <= 0 || now.Sub(last) < idle/rearmFraction {
		return last
	}
	_ = p.st.SetWriteDeadline(now.Add(idle)) // fails only on a dead stream, where the next write fails as well
	return now
}

// rearm moves the deadline of a direction that goes on after the other one has ended.
func (p *pipe) rearm(last time.Time, set func(time.Time)) time.Time {
	limit := p.front.cfg.HalfCloseTimeout
	if limit <= 0 || !p.limited.Load() {
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
func (p *pipe) visitorEnded() {
	p.upEnded.Store(true)
	if p.halfClose {
		_ = p.st.CloseWrite() // fails only on a dead stream, where the read of down fails as well
	}
	p.limitDown()
}

// writeFailed handles a connector that reads no more. It may still send, unless it is stuck.
func (p *pipe) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		dispatch.Abort(p.st)
		return
	}
	p.limitDown()
}

func (p *pipe) limitDown() {
	p.limited.Store(true)
	if d := p.front.cfg.HalfCloseTimeout; d > 0 {
		_ = p.st.SetReadDeadline(time.Now().Add(d)) // fails only on a dead stream, where the next read fails as well
	}
}

// finish passes the end of the connector's direction on. The visitor may go on sending if both ends support half-close.
func (p *pipe) finish() {
	limit := lingerTimeout // for the visitor to close as well
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
		_ = p.st.CloseWrite() // fails only on a dead stream, which needs no FIN
	} else {
		p.st.CancelWrite(transport.NoError)
	}
	p.visitor.close()
}
