package command

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/opstoken"
)

// usedSuffix ends the field that says when a token was used last.
const usedSuffix = ":used"

// Tokens reads the tokens of the ops API, by id. What cannot be read hides nothing else.
func Tokens() Request[[]opstoken.Token] {
	const op = "read tokens"
	return Request[[]opstoken.Token]{
		Op: op, Command: plain("hvals", tokensKey()),
		Decode: func(reply any) ([]opstoken.Token, error) {
			values, err := texts(op, reply)
			if err != nil {
				return nil, err
			}
			used, out := map[string]time.Time{}, []opstoken.Token{}
			for _, v := range values {
				if t, err := opstoken.Decode([]byte(v)); err == nil {
					out = append(out, t)
				}
				id, text, _ := strings.Cut(v, " ")
				if ms, err := strconv.ParseInt(text, 10, 53); err == nil {
					used[id] = time.UnixMilli(ms).UTC()
				}
			}
			for i := range out {
				out[i].Used = used[out[i].ID]
			}
			slices.SortFunc(out, func(a, b opstoken.Token) int { return cmp.Compare(a.ID, b.ID) })
			return out, nil
		},
	}
}

// PutToken writes a token.
func PutToken(t opstoken.Token) (Request[Done], error) {
	const op = "write token"
	text, err := json.Marshal(t)
	if err != nil {
		return Request[Done]{}, fmt.Errorf("%s: %w", op, err)
	}
	return Request[Done]{Op: op, Command: plain("hset", tokensKey(), t.ID, string(text)), Decode: done(op)}, nil
}

// RemoveToken removes a token, and reports whether there was one.
func RemoveToken(id string) Request[bool] {
	const op = "remove token"
	return Request[bool]{
		Op: op, Command: plain("hdel", tokensKey(), id, id+usedSuffix),
		Decode: func(reply any) (bool, error) {
			n, ok := reply.(int64)
			if !ok {
				return false, badReply(op, reply)
			}
			return n > 0, nil
		},
	}
}

// UseToken notes when a token was used last.
func UseToken(id string, at time.Time) Request[Done] {
	const op = "note use of token"
	return Request[Done]{
		Op: op, Command: plain("hset", tokensKey(), id+usedSuffix, id+" "+strconv.FormatInt(at.UnixMilli(), 10)),
		Decode: done(op),
	}
}
