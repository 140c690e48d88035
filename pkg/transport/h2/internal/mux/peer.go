package mux

import (
	"strings"

	"golang.org/x/net/http2"
)

// settings applies the peer's SETTINGS and acknowledges them.
func (c *Conn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if f.NumSettings() > maxSettings {
		return violation(http2.ErrCodeEnhanceYourCalm, "too many settings")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	window := c.peer.window
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID { //nolint:exhaustive // unknown settings are ignored (RFC 9113 6.5.2)
		case http2.SettingInitialWindowSize:
			window = s.Val
		case http2.SettingMaxFrameSize:
			c.peer.frame = s.Val
		case http2.SettingMaxConcurrentStreams:
			c.peer.streams = s.Val
			c.opening.Broadcast()
		case http2.SettingMaxHeaderListSize:
			c.peer.headerList = s.Val
		case http2.SettingHeaderTableSize:
			c.enc.SetMaxDynamicTableSize(min(s.Val, maxTable))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.windowChangedLocked(window); err != nil {
		return err
	}
	c.appendSettingsAck()
	return c.repliedLocked()
}

// windowChangedLocked applies a new initial window: the send windows of all streams change by the difference (RFC 9113
// 6.9.2).
func (c *Conn) windowChangedLocked(window uint32) error {
	delta := int64(window) - int64(c.peer.window)
	if delta == 0 {
		return nil
	}
	c.peer.window = window
	for _, s := range c.streams {
		if s.sendWindow += delta; s.sendWindow > maxWindow {
			return violation(http2.ErrCodeFlowControl, "window overflow")
		}
		s.wcond.Broadcast()
	}
	return nil
}

// windowUpdate adds n bytes to the send window of a stream, or of the connection for id 0.
func (c *Conn) windowUpdate(id uint32, n int64) error {
	if id != 0 {
		s, err := c.lookup(id)
		if s == nil {
			return err
		}
		c.mu.Lock()
		s.sendWindow += n
		over := s.sendWindow > maxWindow
		s.wcond.Broadcast()
		c.mu.Unlock()
		if over {
			s.abort(http2.ErrCodeFlowControl)
		}
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sendWindow += n; c.sendWindow > maxWindow {
		return violation(http2.ErrCodeFlowControl, "window overflow")
	}
	c.nextTurnLocked()
	return nil
}

// goAway handles GOAWAY: the peer accepts no new streams and has ignored those with an id above last.
func (c *Conn) goAway(last uint32, code http2.ErrCode, text string) {
	c.mu.Lock()
	c.goneAway = true
	c.goneText = strings.ToValidUTF8(text, "")
	if code != http2.ErrCodeNo {
		c.goneText = strings.TrimSpace(code.String() + " " + c.goneText)
	}
	var unseen []*Stream
	for id, s := range c.streams {
		if id%2 == c.nextOwn%2 && id > last {
			unseen = append(unseen, s)
		}
	}
	c.opening.Broadcast()
	c.mu.Unlock()
	for _, s := range unseen {
		s.resetByPeer(http2.ErrCodeRefusedStream)
	}
}
