package udp

import (
	"hash/fnv"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// choose gives the proxy with the highest rank for key: every worker that knows the same proxies chooses the same one,
// and one that comes or goes moves no more keys than it must. ok is false if there is none.
func choose(proxies []tunnel.ProxyID, key []byte) (best tunnel.ProxyID, ok bool) {
	var most uint64
	for _, p := range proxies {
		if r := rank(p, key); !ok || r > most || r == most && p < best {
			best, most, ok = p, r, true
		}
	}
	return best, ok
}

func rank(p tunnel.ProxyID, key []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(p)) // a hash takes everything
	_, _ = h.Write([]byte{0})
	_, _ = h.Write(key)
	// FNV mixes the last bytes little; one round of a finaliser spreads them.
	v := h.Sum64()
	v ^= v >> 33
	v *= 0xff51afd7ed558ccd
	return v ^ v>>33
}

// echoKey gives what is the same for all packets of one ping: addresses and echo id. It is nil for what is no packet.
func echoKey(b []byte) []byte {
	const v4Addresses, v4Size, v6Addresses, v6Size = 12, 20, 8, 40
	if len(b) == 0 {
		return nil
	}
	switch b[0] >> 4 {
	case 4:
		head := int(b[0]&0x0f) * 4
		if head < v4Size || len(b) < head+8 {
			return nil
		}
		return append(append([]byte(nil), b[v4Addresses:v4Size]...), b[head+4:head+6]...)
	case 6:
		if len(b) < v6Size+8 {
			return nil
		}
		return append(append([]byte(nil), b[v6Addresses:v6Size]...), b[v6Size+4:v6Size+6]...)
	default:
		return nil
	}
}
