package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Choice is a value of --protocol.
type Choice string

// The values of --protocol.
const (
	Auto  Choice = "auto"
	QUIC  Choice = "quic"
	HTTP2 Choice = "http2"
	H2Mux Choice = "h2mux" // retired; means HTTP/2, callers log a warning
)

// ParseChoice accepts the exact values of --protocol; empty is auto.
func ParseChoice(s string) (Choice, error) {
	switch c := Choice(s); c {
	case "":
		return Auto, nil
	case Auto, QUIC, HTTP2, H2Mux:
		return c, nil
	default:
		return "", fmt.Errorf("unknown protocol %s", s)
	}
}

// Share is one entry of the protocol record: the percentage of accounts that shall use the protocol.
type Share struct {
	Protocol   string `json:"protocol"`
	Percentage int32  `json:"percentage"`
}

// Shares is the protocol record (docs/spec/wire.md 2.4). Nil means that it is not known.
type Shares []Share

// ParseShares reads the text of the protocol record. An empty text, which a pool has when the record could not be read, gives nil
// and no error.
func ParseShares(txt string) (Shares, error) {
	if txt == "" {
		return nil, nil
	}
	var s Shares
	if err := json.Unmarshal([]byte(txt), &s); err != nil {
		return nil, fmt.Errorf("protocol record: %w", err)
	}
	if s == nil {
		return nil, errors.New("protocol record: null")
	}
	return s, nil
}

// selects reports whether the record gives the protocol to accounts with this hash. The first entry counts.
func (s Shares) selects(p tunnel.Protocol, accountHash uint8) bool {
	for _, share := range s {
		if strings.EqualFold(share.Protocol, string(p)) {
			return share.Percentage > int32(accountHash)
		}
	}
	return false
}

// Criteria is the input of Select.
type Criteria struct {
	Choice Choice
	// Token means that the credentials came as a run token, by flag, variable or file.
	Token bool
	// Shares is the protocol record; nil when it is not known.
	Shares Shares
	// AccountHash is the account's number 0..99 (docs/spec/wire.md 2.4).
	AccountHash uint8
}

// Selection is the protocol to begin with and the one to fall back to; an empty Fallback means that there is none.
type Selection struct {
	Preferred tunnel.Protocol
	Fallback  tunnel.Protocol
}

// Select chooses the protocols (docs/spec/lifecycle.md 5; docs/spec/wire.md 14).
//
// It differs from the reference in one case: while the record is not known, it selects QUIC with the fallback HTTP/2, as with a
// token. The reference uses HTTP/2 without a fallback for an hour. The protocol of a connector must not depend on one lookup, and
// a selection with a fallback recovers where QUIC is blocked.
func Select(c Criteria) Selection {
	switch c.Choice {
	case QUIC:
		return Selection{Preferred: tunnel.QUIC}
	case HTTP2, H2Mux:
		return Selection{Preferred: tunnel.HTTP2}
	case Auto:
	}
	if !c.Token && c.Shares != nil && !c.Shares.selects(tunnel.QUIC, c.AccountHash) &&
		c.Shares.selects(tunnel.HTTP2, c.AccountHash) {
		return Selection{Preferred: tunnel.HTTP2}
	}
	return Selection{Preferred: tunnel.QUIC, Fallback: tunnel.HTTP2}
}

// Within limits a selection to the available protocols. The fallback replaces a preferred protocol that is not available; if
// neither is available, the first available protocol is selected.
func (s Selection) Within(available ...tunnel.Protocol) Selection {
	if !slices.Contains(available, s.Fallback) {
		s.Fallback = ""
	}
	if slices.Contains(available, s.Preferred) {
		return s
	}
	s.Preferred, s.Fallback = s.Fallback, ""
	if s.Preferred == "" && len(available) > 0 {
		s.Preferred = available[0]
	}
	return s
}
