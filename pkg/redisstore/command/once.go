package command

import (
	"time"
)

// Claim marks the request with a key as one that runs, unless it was marked before, and reports whether it did.
func Claim(key, mark string, ttl time.Duration) Request[bool] {
	const op = "claim request"
	return Request[bool]{
		Op: op, Command: plain("set", onceKey(key), mark, "px", millis(ttl), "nx"),
		Decode: func(reply any) (bool, error) {
			switch reply {
			case nil:
				return false, nil
			case "OK":
				return true, nil
			}
			return false, badReply(op, reply)
		},
	}
}

// Claimed reads the mark or the response of the request with a key; tunnel.ErrNotFound if there is none.
func Claimed(key string) Request[string] {
	const op = "read request"
	return Request[string]{
		Op: op, Command: plain("get", onceKey(key)),
		Decode: func(reply any) (string, error) { return text(op, reply) },
	}
}

// Settle replaces the mark of a request by its response.
func Settle(key, response string, ttl time.Duration) Request[Done] {
	const op = "note response"
	return Request[Done]{Op: op, Command: plain("set", onceKey(key), response, "px", millis(ttl)), Decode: done(op)}
}

// Unclaim removes the mark of a request that changed nothing.
func Unclaim(key string) Request[Done] {
	const op = "forget request"
	return Request[Done]{Op: op, Command: plain("del", onceKey(key)), Decode: done(op)}
}
