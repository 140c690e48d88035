package websocket

import (
	"crypto/sha1" // required by RFC 6455 4.2.2; it protects nothing
	"encoding/base64"
	"encoding/binary"
	"unicode/utf8"
)

// Code is the status of a close frame (RFC 6455 7.4).
type Code uint16

// The codes that we send.
const (
	CodeNormal   Code = 1000
	CodeGoingOff Code = 1001
	CodeProtocol Code = 1002
	CodePolicy   Code = 1008
	CodeInternal Code = 1011
	// CodeNone stands for a close frame without a code; it is never sent.
	CodeNone Code = 1005
)

const sizeCode = 2

// sendable reports whether a code may stand in a close frame (RFC 6455 7.4.1, 7.4.2).
func (c Code) sendable() bool {
	switch {
	case c >= 3000 && c <= 4999:
		return true
	case c < 1000 || c > 1014:
		return false
	}
	return c != 1004 && c != 1005 && c != 1006
}

// AppendClose appends the payload of a close frame: nothing for CodeNone. The reason is cut to what fits.
func AppendClose(dst []byte, c Code, reason string) []byte {
	if c == CodeNone {
		return dst
	}
	const most = MaxControl - sizeCode
	if len(reason) > most {
		reason = reason[:most]
		for !utf8.ValidString(reason) {
			reason = reason[:len(reason)-1]
		}
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(c)), reason...)
}

// ParseClose reads the payload of a close frame; an empty one is CodeNone.
func ParseClose(b []byte) (c Code, reason string, err error) {
	if len(b) == 0 {
		return CodeNone, "", nil
	}
	if len(b) < sizeCode {
		return 0, "", violation("close frame of one byte")
	}
	c = Code(binary.BigEndian.Uint16(b))
	if !c.sendable() {
		return 0, "", violation("close code out of range")
	}
	if !utf8.Valid(b[sizeCode:]) {
		return 0, "", violation("close reason is not UTF-8")
	}
	return c, string(b[sizeCode:]), nil
}

// AppendControl appends a complete control frame, unmasked as servers send it. The payload must not exceed MaxControl.
func AppendControl(dst []byte, op Opcode, payload []byte) []byte {
	h := Header{Fin: true, Opcode: op, Length: uint64(len(payload))}
	return append(h.Append(dst), payload...)
}

// AppendMasked appends a complete frame, masked with key as clients send it.
func AppendMasked(dst []byte, op Opcode, key [4]byte, payload []byte) []byte {
	h := Header{Fin: true, Opcode: op, Masked: true, Key: key, Length: uint64(len(payload))}
	dst = append(h.Append(dst), payload...)
	Mask(dst[len(dst)-len(payload):], key, 0)
	return dst
}

// AcceptKey gives the Sec-WebSocket-Accept value for a Sec-WebSocket-Key (RFC 6455 4.2.2).
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
