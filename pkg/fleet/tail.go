package fleet

import (
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Tail is a log stream as the processes of a connector know it. The proxy that has the client keeps it in the store.
type Tail struct {
	// Session is the id of the stream.
	Session   string             `json:"session"`
	Tunnel    tunnel.ID          `json:"tunnel"`
	Connector tunnel.ConnectorID `json:"connector"`
	Actor     string             `json:"actor"`
	// Process is the process that has the client. It sends its own lines directly.
	Process string             `json:"process"`
	Filters management.Filters `json:"filters"`
	// Replaces are the streams of the same actor that have to end.
	Replaces []string `json:"replaces,omitempty"`
}

// sameConnector reports whether two streams are of one connector.
func (t *Tail) sameConnector(other *Tail) bool {
	return t.Tunnel == other.Tunnel && t.Connector == other.Connector && t.Session != other.Session
}

// Claim decides whether a stream may begin beside all known ones: not beside one of another actor. It fills Replaces.
func (t *Tail) Claim(all []Tail) (allowed bool) {
	t.Replaces = nil
	for i := range all {
		switch {
		case !t.sameConnector(&all[i]):
		case all[i].Actor != t.Actor:
			return false
		default:
			t.Replaces = append(t.Replaces, all[i].Session)
		}
	}
	return true
}

// Verdict is what the other streams mean for one that runs.
type Verdict uint8

// The verdicts.
const (
	// Stay: no other stream is in the way.
	Stay Verdict = iota
	// Replaced: a stream of the same actor has taken the place.
	Replaced
	// Yield: two actors began at the same moment, and the other one stays.
	Yield
)

// Judge decides whether a running stream goes on. Of two streams that began at the same moment the one with the lesser id stays.
func (t *Tail) Judge(all []Tail) Verdict {
	verdict := Stay
	for i := range all {
		switch other := &all[i]; {
		case !t.sameConnector(other):
		case slices.Contains(other.Replaces, t.Session):
			return Replaced
		case !slices.Contains(t.Replaces, other.Session) && other.Session < t.Session:
			verdict = Yield
		}
	}
	return verdict
}
