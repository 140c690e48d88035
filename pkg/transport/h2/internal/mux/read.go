package mux

import (
	"errors"
	"io"

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
		c.heard()
		if first && !isSettings(fh) {
			return violation(http2.ErrCodeProtocol, "the first frame is not SETTINGS")
		}
		if isPlainData(fh) {
			if err := c.readData(fh); err != nil {
				return err
			}
			continue
		}
		if err := c.readOther(fh); err != nil {
			return err
		}
	}
}

// readOther reads and handles a frame that is not plain DATA. A fault of one stream resets that stream only.
func (c *Conn) readOther(fh http2.FrameHeader) error {
	f, err := c.fr.ReadFrameForHeader(fh)
	var se http2.StreamError
	switch {
	case errors.As(err, &se) && fh.Type == http2.FrameHeaders: // the block was not decoded, so the tables would differ
		return violation(http2.ErrCodeProtocol, "malformed HEADERS frame")
	case errors.As(err, &se):
		return c.refuse(se.StreamID, se.Code)
	case err != nil:
		return err
	}
	return c.handle(f)
}

// isPlainData reports whether a frame is DATA without padding.
func isPlainData(fh http2.FrameHeader) bool {
	return fh.Type == http2.FrameData && !fh.Flags.Has(http2.FlagDataPadded) && fh.StreamID != 0
}

// isSettings reports whether a frame is SETTINGS and not their acknowledgement.
func isSettings(fh http2.FrameHeader) bool {
	return fh.Type == http2.FrameSettings && !fh.Flags.Has(http2.FlagSettingsAck)
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

// handle handles every frame but DATA without padding.
func (c *Conn) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.HeadersFrame:
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
			c.acknowledged()
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.appendPing(true, f.Data)
		return c.repliedLocked()
	case *http2.GoAwayFrame:
		c.goAway(f.LastStreamID, f.ErrCode, string(f.DebugData()[:min(len(f.DebugData()), maxDebug)]))
		return nil
	case *http2.PushPromiseFrame:
		return violation(http2.ErrCodeProtocol, "PUSH_PROMISE, which is disabled")
	default: // PRIORITY and unknown frames
		return nil
	}
}

// repliedLocked wakes the writer for a reply that the peer has provoked, and fails when too many of them wait.
func (c *Conn) repliedLocked() error {
	c.toWrite.Signal()
	return c.controlLocked()
}

// controlLocked fails when the peer provokes replies faster than it reads them.
func (c *Conn) controlLocked() error {
	if c.control > maxControl {
		return violation(http2.ErrCodeEnhanceYourCalm, "control frame flood")
	}
	return nil
}

// lookup gives a stream, or nil when it has ended. An id that was never used is an error of the peer.
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
	return nil, nil //nolint:nilnil // no stream and no error: the stream has ended
}

// readData reads a DATA frame's payload from the connection straight into blocks of its stream.
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
		c.heard()
		s.deliver(b, size == 0 && fh.Flags.Has(http2.FlagDataEndStream))
	}
	if fh.Length == 0 && fh.Flags.Has(http2.FlagDataEndStream) {
		s.finish(nil)
	}
	return nil
}

// paddedData is readData for a frame with padding. Padding counts against the windows, so it is granted again at once.
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

// headers handles a header or trailers.
func (c *Conn) headers(f *http2.HeadersFrame) error {
	id := f.StreamID
	section, err := c.sections.read(c.fr, f)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if err := c.controlLocked(); err != nil {
		c.mu.Unlock()
		return err
	}
	s := c.streams[id]
	foreign := id%2 != c.nextOwn%2
	if s == nil && foreign && id > c.lastPeer {
		s, err = c.acceptLocked(id, &section)
		c.mu.Unlock()
		if s != nil {
			c.cfg.Incoming(s)
		}
		return err
	}
	unknown := s == nil && !foreign && id >= c.nextOwn
	c.mu.Unlock()
	switch {
	case unknown:
		return violation(http2.ErrCodeProtocol, "HEADERS for a stream that does not exist")
	case s == nil: // it was reset a moment ago
	case section.malformed:
		s.abort(http2.ErrCodeProtocol)
	case section.tooLarge, !c.hold(s, section.size):
		s.abort(http2.ErrCodeEnhanceYourCalm)
	default:
		s.more(section.fields, section.end)
	}
	return nil
}

// acceptLocked makes a stream of a request's header, or refuses it.
func (c *Conn) acceptLocked(id uint32, section *section) (*Stream, error) {
	if c.cfg.Role == Client {
		return nil, violation(http2.ErrCodeProtocol, "a stream opened by the server")
	}
	c.lastPeer = id
	switch {
	case c.err != nil:
		return nil, c.err
	case c.resets > c.cfg.MaxStreams+maxResets: // all streams that were open when the peer stopped reading, and a burst
		return nil, violation(http2.ErrCodeEnhanceYourCalm, "too many streams were reset")
	case section.malformed:
		c.appendRefusal(id, http2.ErrCodeProtocol)
		return nil, c.repliedLocked()
	case c.cfg.Incoming == nil, c.foreign >= c.maxForeign:
		c.appendRefusal(id, http2.ErrCodeRefusedStream)
		return nil, c.repliedLocked()
	case section.tooLarge:
		c.appendTooLarge(id, section.end)
		return nil, c.repliedLocked()
	}
	s := c.newStream(id)
	if !c.hold(s, section.size) {
		delete(c.streams, s.key)
		s.stop(nil)
		c.appendRefusal(id, http2.ErrCodeRefusedStream) // the request was not processed, so the edge may send it on another connection
		return nil, c.repliedLocked()
	}
	c.foreign++
	s.foreign, s.head = true, section.fields
	s.bodiless = section.end
	s.fin = s.bodiless
	return s, nil
}

// hold counts decoded fields that wait for the stream's reader. It reports false when the connection holds too many.
func (c *Conn) hold(s *Stream, size int) bool {
	if c.heldHeaders.Add(int64(size)) > int64(c.cfg.HeaderBudget) {
		c.heldHeaders.Add(-int64(size))
		return false
	}
	s.held.Add(int64(size))
	return true
}

// refuse resets a stream because of a malformed frame.
func (c *Conn) refuse(id uint32, code http2.ErrCode) error {
	c.mu.Lock()
	s := c.streams[id]
	var err error
	if s == nil {
		c.appendRefusal(id, code)
		err = c.repliedLocked()
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

// over gives the error of a connection that has ended.
func (c *Conn) over() *tunnel.ConnError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
