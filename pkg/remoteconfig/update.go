package remoteconfig

import (
	"encoding/binary"
	"errors"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// LocalVersion is the version of the configuration that a connector starts with (docs/spec/wire.md 8.6). The first push
// has version 0 or more.
const LocalVersion int32 = -1

const versionSize = 4

// Limits of the messages on the link, in bytes.
const (
	MaxUpdate = 16 << 20
	MaxResult = 64 << 10
)

// ErrMalformed says that a message cannot be parsed.
var ErrMalformed = errors.New("malformed configuration message")

// Update is one version of a tunnel's configuration.
type Update struct {
	// Tunnel owns the configuration. It is the zero ID where the session or the flow names the tunnel.
	Tunnel  tunnel.ID
	Version int32
	// Document is JSON.
	Document []byte
}

// Append appends the form on the link: the version as 4 bytes, big-endian, then the document. The OPEN frame names the tunnel.
func (u Update) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(u.Version))
	return append(dst, u.Document...)
}

// ParseUpdate parses a whole update from the link. The document is a part of b, and Tunnel is zero. The error is ErrMalformed.
func ParseUpdate(b []byte) (Update, error) {
	if len(b) < versionSize {
		return Update{}, ErrMalformed
	}
	return Update{Version: int32(binary.BigEndian.Uint32(b)), Document: b[versionSize:]}, nil
}
