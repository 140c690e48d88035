package h2head

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// ErrBlock means that a value is not a header block. Compare with errors.Is.
var ErrBlock = errors.New("malformed header block")

// AppendItem appends one header to the block that begins at dst[start:].
func AppendItem(dst []byte, start int, name, value string) []byte {
	if len(dst) > start {
		dst = append(dst, ';')
	}
	dst = appendBase64(dst, name)
	dst = append(dst, ':')
	return appendBase64(dst, value)
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// appendBase64 avoids the copy to a byte slice that encoding/base64 needs.
func appendBase64(dst []byte, s string) []byte {
	for len(s) >= 3 {
		v := uint(s[0])<<16 | uint(s[1])<<8 | uint(s[2])
		dst = append(dst, alphabet[v>>18], alphabet[v>>12&63], alphabet[v>>6&63], alphabet[v&63])
		s = s[3:]
	}
	switch len(s) {
	case 1:
		v := uint(s[0]) << 16
		dst = append(dst, alphabet[v>>18], alphabet[v>>12&63])
	case 2:
		v := uint(s[0])<<16 | uint(s[1])<<8
		dst = append(dst, alphabet[v>>18], alphabet[v>>12&63], alphabet[v>>6&63])
	}
	return dst
}

// ParseBlock appends the headers of a block to pairs, with prefix before each name. It fails with ErrBlock, or with
// httpfield.ErrLimit when the decoded headers exceed the limits.
func ParseBlock(pairs []stream.Pair, block, prefix string, limits httpfield.Limits) ([]stream.Pair, error) {
	meter := limits.Meter()
	if strings.ContainsAny(block, "\r\n") { // base64 decoders skip line breaks (docs/spec/wire.md 16, quirk 15)
		return pairs, fmt.Errorf("%w: line break", ErrBlock)
	}
	for len(block) > 0 {
		var item string
		item, block, _ = strings.Cut(block, ";")
		if item == "" {
			continue
		}
		name, value, ok := strings.Cut(item, ":")
		if !ok || strings.IndexByte(value, ':') >= 0 {
			return pairs, fmt.Errorf("%w: an item is not one pair", ErrBlock)
		}
		if err := meter.Add(base64.RawStdEncoding.DecodedLen(len(name)), base64.RawStdEncoding.DecodedLen(len(value))); err != nil {
			return pairs, err
		}
		key, err := decode(prefix, name)
		if err != nil {
			return pairs, err
		}
		val, err := decode("", value)
		if err != nil {
			return pairs, err
		}
		pairs = append(pairs, stream.Pair{Key: key, Val: val})
	}
	return pairs, nil
}

func decode(prefix, s string) (string, error) {
	var room [256]byte
	out, err := base64.RawStdEncoding.AppendDecode(append(room[:0], prefix...), []byte(s))
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrBlock, err)
	}
	return string(out), nil
}

// InBlock reports whether an origin's header may go into the block. Names that have a meaning between edge and connector
// may not: an origin must not forge them (docs/spec/wire.md 9.4).
func InBlock(name string) bool {
	return !strings.HasPrefix(name, ":") && !httpfield.IsReservedInResponse(name)
}
