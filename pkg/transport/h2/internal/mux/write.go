package mux

import (
	"encoding/binary"
	"runtime"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// writeLoop sends the buffer until the connection ends, and closes the socket.
func (c *Conn) writeLoop() {
	for {
		c.mu.Lock()
		for len(c.out) == 0 && c.err == nil {
			c.toWrite.Wait()
		}
		over := c.err != nil
		c.mu.Unlock()
		if over {
			c.writeLast()
			return
		}
		runtime.Gosched() // other goroutines that are ready may add to the same write
		if err := c.writeOut(); err != nil {
			c.writeFailed(err)
			return
		}
	}
}

// writeFailed ends the connection because writing failed, and closes the socket. A peer that closed its socket may have
// said why in a GOAWAY that nobody has read yet, so the reader comes to the end of what has arrived first.
func (c *Conn) writeFailed(err error) {
	if lossOf(err).Reason == tunnel.ReasonPeerClosed {
		_ = c.nc.SetReadDeadline(time.Now().Add(closeTimeout)) // fails only on a closed socket, which ends the reader, too
		c.mu.Lock()
		c.writeErr = err
		c.mu.Unlock()
		<-c.ctx.Done()
	}
	c.lost(err)
	_ = c.nc.Close() // the connection is broken anyway
}

// writeOut sends the buffer. Streams fill the spare one meanwhile.
func (c *Conn) writeOut() error {
	c.mu.Lock()
	buf := c.out
	c.out, c.spare = c.spare[:0], nil
	c.control, c.resets = 0, 0
	c.nextTurnLocked()
	c.mu.Unlock()
	c.written.Add(int64(len(buf)))
	_, err := c.nc.Write(buf)
	c.mu.Lock()
	c.spare = buf[:0]
	c.mu.Unlock()
	return err
}

// writeLast sends what is left, within the deadline that fail has set, and closes the socket, which ends the reader.
func (c *Conn) writeLast() {
	_ = c.writeOut() // the connection has ended with its first error
	_ = c.nc.Close() // likewise
}

// nextTurnLocked wakes the stream that has waited longest, if there is room to send.
func (c *Conn) nextTurnLocked() {
	if len(c.turn) == 0 || c.sendWindow <= 0 || len(c.out) >= c.cfg.OutBuffer {
		return
	}
	s := c.turn[0]
	c.turn = c.turn[1:]
	s.queued = false
	s.wcond.Broadcast()
}

// appendFrame appends a frame's header. Frames are written without the library's framer, which would copy them once more.
func (c *Conn) appendFrame(t http2.FrameType, flags http2.Flags, id uint32, size int) {
	c.out = append(c.out, byte(size>>16), byte(size>>8), byte(size), byte(t), byte(flags),
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func (c *Conn) appendPreface() {
	list := []http2.Setting{
		{ID: http2.SettingMaxFrameSize, Val: c.cfg.MaxFrame},
		{ID: http2.SettingMaxConcurrentStreams, Val: c.cfg.AnnouncedStreams},
		{ID: http2.SettingMaxHeaderListSize, Val: c.cfg.AnnouncedHeaderList},
		{ID: http2.SettingHeaderTableSize, Val: decoderTable},
		{ID: http2.SettingInitialWindowSize, Val: uint32(c.cfg.StreamWindow)},
		{ID: http2.SettingNoRFC7540Priorities, Val: 1},
	}
	if c.cfg.Role == Client {
		c.out = append(c.out, http2.ClientPreface...)
		list[1] = http2.Setting{ID: http2.SettingEnablePush, Val: 0}
	}
	c.appendFrame(http2.FrameSettings, 0, 0, 6*len(list))
	for _, s := range list {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(s.ID))
		c.out = binary.BigEndian.AppendUint32(c.out, s.Val)
	}
	if more := c.window.Load() - initialWindow; more > 0 {
		c.appendWindow(0, int(more))
	}
}

func (c *Conn) appendSettingsAck() {
	c.appendFrame(http2.FrameSettings, http2.FlagSettingsAck, 0, 0)
	c.control += frameHeader
}

func (c *Conn) appendPing(ack bool, data [8]byte) {
	var flags http2.Flags
	if ack {
		flags = http2.FlagPingAck
	}
	c.appendFrame(http2.FramePing, flags, 0, len(data))
	c.out = append(c.out, data[:]...)
	c.control += frameHeader + len(data)
}

func (c *Conn) appendWindow(id uint32, n int) {
	c.appendFrame(http2.FrameWindowUpdate, 0, id, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(n))
}

func (c *Conn) appendReset(id uint32, code http2.ErrCode) {
	c.appendFrame(http2.FrameRSTStream, 0, id, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
	if id%2 != c.nextOwn%2 {
		c.resets++
	}
}

// appendRefusal is appendReset for an error of the peer.
func (c *Conn) appendRefusal(id uint32, code http2.ErrCode) {
	c.appendReset(id, code)
	c.control += frameHeader + 4
}

// appendTooLarge refuses a request whose header exceeds the limits, with the configured response if there is one. A reset
// without error then tells the peer to stop sending the body (RFC 9113 8.1).
func (c *Conn) appendTooLarge(id uint32, ended bool) {
	if len(c.cfg.TooLarge) == 0 {
		c.appendRefusal(id, http2.ErrCodeEnhanceYourCalm)
		return
	}
	before := len(c.out)
	if c.appendHead(id, c.cfg.TooLarge, true) != nil {
		c.appendRefusal(id, http2.ErrCodeEnhanceYourCalm)
		return
	}
	c.control += len(c.out) - before
	if !ended {
		c.appendRefusal(id, http2.ErrCodeNo)
	}
}

func (c *Conn) appendGoAway(code http2.ErrCode, text string) {
	text = text[:min(len(text), maxDebug)]
	c.appendFrame(http2.FrameGoAway, 0, 0, 8+len(text))
	c.out = binary.BigEndian.AppendUint32(c.out, c.lastPeer)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
	c.out = append(c.out, text...)
}

func (c *Conn) appendData(id uint32, p []byte, end bool) {
	var flags http2.Flags
	if end {
		flags = http2.FlagDataEndStream
	}
	c.appendFrame(http2.FrameData, flags, id, len(p))
	c.out = append(c.out, p...)
}

// appendHead encodes a header or trailers. The encoder's state is the connection's, so what was encoded must be sent.
func (c *Conn) appendHead(id uint32, fields []Field, end bool) error {
	if uint64(sizeOf(fields)) > uint64(c.peer.headerList) {
		return errHeadTooBig
	}
	c.encBuf.Reset()
	for i := range fields {
		_ = c.enc.WriteField(hpack.HeaderField(fields[i])) // writing to a bytes.Buffer does not fail
	}
	block := c.encBuf.Bytes()
	kind, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for {
		n := min(len(block), int(c.peer.frame))
		if n == len(block) {
			flags |= http2.FlagHeadersEndHeaders // the same bit in both frames
		}
		c.appendFrame(kind, flags, id, n)
		c.out = append(c.out, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			break
		}
		kind, flags = http2.FrameContinuation, 0
	}
	if c.encBuf.Cap() > maxTable {
		c.encBuf.Reset()
	}
	return nil
}

// grant lets the peer send n bytes more on the connection, once enough of them are due for a frame.
func (c *Conn) grant(n int) {
	if n == 0 || c.unacked.Add(int64(n)) < c.window.Load()/4 {
		return
	}
	more := c.unacked.Swap(0)
	if more == 0 {
		return
	}
	c.recvWindow.Add(more)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.appendWindow(0, int(more))
		c.toWrite.Signal()
	}
}

// grantStream lets the peer send n bytes more on one stream.
func (c *Conn) grantStream(id uint32, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[id] != nil {
		c.appendWindow(id, n)
		c.toWrite.Signal()
	}
}
