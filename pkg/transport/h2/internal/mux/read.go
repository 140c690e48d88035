package mux

import (
	"errors"
	"io"
	"time"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// readLoop handles frames until the connection ends.
func (c *Conn) readLoop() {
	c.lost(c.readFrames())
}

// readFrames never returns nil.
func (c *Conn) readFrames() error {
	if c.cfg.Role == Server {
		if err := c.readPreface(); err != nil {
			return err
		}
	}
	for first := true; ; first = false {
		fh, err := c.fr.ReadFrameHeader()
		if err != nil {
			return err
		}
		c.lastRead.Store(int64(time.Since(c.began)))
		if first && (fh.Type != http2.FrameSettings || fh.Flags.Has(http2.FlagSettingsAck)) {
			return violation(http2.ErrCodeProtocol, "the first frame is no SETTINGS")
		}
		if fh.Type == http2.FrameData && !fh.Flags.Has(http2.FlagDataPadded) && fh.StreamID != 0 {
			if err := c.readData(fh); err != nil {
				return err
			}
			continue
		}
		f, err := c.fr.ReadFrameForHeader(fh)
		var se http2.StreamError
		switch {
		case errors.As(err, &se):
			if err := c.refuse(fh, se.StreamID, se.Code); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		if err := c.handle(f); err != nil {
			return err
		}
	}
}

func (c *Conn) readPreface() error {
	buf := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.br, buf); err != nil {
		return err
	}
	if string(buf) != http2.ClientPreface {
		return violation(http2.ErrCodeProtocol, "the peer does not speak HTTP/2")
	}
	return nil
}

// handle handles every frame but the usual DATA.
func (c *Conn) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.DataFrame:
		return c.paddedData(f)
	case *http2.RSTStreamFrame:
		return c.resetByPeer(f.StreamID, f.ErrCode)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f.StreamID, int64(f.Increment))
	case *http2.PingFrame:
		if f.IsAck() {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.appendPing(true, f.Data)
		return c.answeredLocked()
	case *http2.GoAwayFrame:
		c.goAway(f.LastStreamID, f.ErrCode, string(f.DebugData()[:min(len(f.DebugData()), maxDebug)]))
		return nil
	case *http2.PushPromiseFrame:
		return violation(http2.ErrCodeProtocol, "PUSH_PROMISE, which is switched off")
	default: // PRIORITY and what is not known
		return nil
	}
}

// answeredLocked wakes the writer for an answer that the peer has asked for, and gives up a peer that only asks.
func (c *Conn) answeredLocked() error {
	c.toWrite.Signal()
	return c.controlLocked()
}

// controlLocked gives up a peer that asks, or makes mistakes, and does not read the answers.
func (c *Conn) controlLocked() error {
	if c.control > maxControl {
		return violation(http2.ErrCodeEnhanceYourCalm, "too many questions")
	}
	return nil
}

// lookup gives the stream, nil for one that is over; an id that was never used is the peer's mistake.
func (c *Conn) lookup(id uint32) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.controlLocked(); err != nil {
		return nil, err
	}
	if s := c.streams[id]; s != nil {
		return s, nil
	}
	known := id < c.nextOwn
	if id%2 != c.nextOwn%2 {
		known = id <= c.lastPeer
	}
	if !known {
		return nil, violation(http2.ErrCodeProtocol, "frame for a stream that does not exist")
	}
	return nil, nil
}

// readData takes a DATA frame's payload off the connection, straight to its stream.
func (c *Conn) readData(fh http2.FrameHeader) error {
	s, err := c.lookup(fh.StreamID)
	if err != nil {
		return err
	}
	size := int(fh.Length)
	if c.recvWindow.Add(-int64(size)) < 0 {
		return violation(http2.ErrCodeFlowControl, "more DATA than the connection's window")
	}
	if s == nil || !s.admit(size) {
		if _, err := c.br.Discard(size); err != nil {
			return err
		}
		c.grant(size)
		if s != nil {
			s.dropped(size, fh.Flags.Has(http2.FlagDataEndStream))
		}
		return nil
	}
	for size > 0 {
		b := c.blocks.get()
		n := min(size, blockSize)
		if _, err := io.ReadFull(c.br, b.b[:n]); err != nil {
			c.blocks.put(b)
			return err
		}
		b.w = n
		size -= n
		c.lastRead.Store(int64(time.Since(c.began)))
		s.deliver(b, size == 0 && fh.Flags.Has(http2.FlagDataEndStream))
	}
	if fh.Length == 0 && fh.Flags.Has(http2.FlagDataEndStream) {
		s.finish(nil)
	}
	return nil
}

// paddedData is readData for a frame with padding, which counts like data and is granted anew at once.
func (c *Conn) paddedData(f *http2.DataFrame) error {
	s, err := c.lookup(f.StreamID)
	if err != nil {
		return err
	}
	data := f.Data()
	if c.recvWindow.Add(-int64(f.Length)) < 0 {
		return violation(http2.ErrCodeFlowControl, "more DATA than the connection's window")
	}
	c.grant(int(f.Length) - len(data))
	if s == nil || !s.admit(int(f.Length)) {
		c.grant(len(data))
		if s != nil {
			s.dropped(int(f.Length), f.StreamEnded())
		}
		return nil
	}
	s.padding(int(f.Length) - len(data))
	for len(data) > 0 {
		b := c.blocks.get()
		b.w = copy(b.b[:], data)
		data = data[b.w:]
		s.deliver(b, len(data) == 0 && f.StreamEnded())
	}
	if len(f.Data()) == 0 && f.StreamEnded() {
		s.finish(nil)
	}
	return nil
}

// headers handles a head or trailers.
func (c *Conn) headers(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	c.mu.Lock()
	if err := c.controlLocked(); err != nil {
		c.mu.Unlock()
		return err
	}
	s := c.streams[id]
	foreign := id%2 != c.nextOwn%2
	if s != nil || !foreign || id <= c.lastPeer {
		never := s == nil && (!foreign && id >= c.nextOwn)
		c.mu.Unlock()
		switch {
		case never:
			return violation(http2.ErrCodeProtocol, "head for a stream that does not exist")
		case s == nil: // reset by us a moment ago
			return nil
		case f.Truncated:
			s.abort(http2.ErrCodeEnhanceYourCalm)
			return nil
		default:
			s.more(f.Fields, f.StreamEnded())
			return nil
		}
	}
	if c.cfg.Role == Client {
		c.mu.Unlock()
		return violation(http2.ErrCodeProtocol, "a stream opened by the server")
	}
	c.lastPeer = id
	if c.err != nil {
		c.mu.Unlock()
		return c.err
	}
	if c.resets > c.cfg.MaxStreams+maxResets { // more than it had before it ceased to take what we say, and a burst
		c.mu.Unlock()
		return violation(http2.ErrCodeEnhanceYourCalm, "too many streams that were reset")
	}
	if c.cfg.Incoming == nil || c.foreign >= c.cfg.MaxStreams {
		c.appendRefusal(id, http2.ErrCodeRefusedStream)
		defer c.mu.Unlock()
		return c.answeredLocked()
	}
	if f.Truncated {
		c.appendRefusal(id, http2.ErrCodeEnhanceYourCalm)
		defer c.mu.Unlock()
		return c.answeredLocked()
	}
	c.foreign++
	s = c.newStream(id)
	s.foreign, s.head = true, f.Fields
	s.bodiless = f.StreamEnded()
	s.fin = s.bodiless
	c.mu.Unlock()
	c.cfg.Incoming(s)
	return nil
}

// refuse resets a stream whose frame was malformed.
func (c *Conn) refuse(fh http2.FrameHeader, id uint32, code http2.ErrCode) error {
	c.mu.Lock()
	s := c.streams[id]
	var err error
	if s == nil {
		if fh.Type == http2.FrameHeaders && id%2 != c.nextOwn%2 && id > c.lastPeer {
			c.lastPeer = id
		}
		c.appendRefusal(id, code)
		err = c.answeredLocked()
	}
	c.mu.Unlock()
	if s != nil {
		s.abort(code)
	}
	return err
}

func (c *Conn) resetByPeer(id uint32, code http2.ErrCode) error {
	s, err := c.lookup(id)
	if s != nil {
		s.resetByPeer(code)
	}
	return err
}

// over is the error of a connection that has ended.
func (c *Conn) over() *tunnel.ConnError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
