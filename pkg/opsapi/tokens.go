package opsapi

import (
	"encoding/json"
	"time"
)

// TokenInfo is a token without its secret.
type TokenInfo struct {
	ID      string    `json:"id" doc:"part of the token that may be shown"`
	Name    string    `json:"name" doc:"name that its maker gave it"`
	Scope   Scope     `json:"scope" doc:"read, operate or admin"`
	Created time.Time `json:"created_at" doc:"when it was made"`
	Expires time.Time `json:"expires_at,omitzero" doc:"when it ends; absent for never"`
	Used    time.Time `json:"last_used_at,omitzero" doc:"when it was used last, to the minute; absent for never"`
	Author  string    `json:"author,omitempty" doc:"who made it"`
}

// Tokens is a page of tokens, in the order of their ids.
type Tokens struct {
	Items []TokenInfo `json:"items" doc:"tokens in the order of their ids"`
	Page
}

// NewToken is a token to make.
type NewToken struct {
	Name    string `json:"name" doc:"1 to 64 printable characters"`
	Scope   Scope  `json:"scope" doc:"read, operate or admin"`
	Expires string `json:"expires_in,omitempty" doc:"how long it lives, such as 720h; absent for ever"`
	Author  string `json:"author,omitempty" doc:"who makes it"`
}

// MadeToken is a token with its secret, which is shown once.
type MadeToken struct {
	TokenInfo
	Token string `json:"token" doc:"what its holder sends as bearer token; it is kept nowhere"`
}

// Change is an entry of the audit log: a change that somebody made.
type Change struct {
	ID        string          `json:"id,omitempty" doc:"id of the entry; grows"`
	Time      time.Time       `json:"time" doc:"when it was made"`
	Who       string          `json:"who" doc:"name of the token, or how the request came"`
	Token     string          `json:"token_id,omitempty" doc:"id of the token"`
	Address   string          `json:"address,omitempty" doc:"where the request came from"`
	Operation string          `json:"operation" doc:"operationId"`
	Path      string          `json:"path" doc:"path of the request"`
	Status    int             `json:"status" doc:"status code of the response"`
	Before    json.RawMessage `json:"before,omitempty" doc:"what was there before, without secrets"`
	After     json.RawMessage `json:"after,omitempty" doc:"what is there now, without secrets"`
}

// Changes is a page of the audit log, the newest first.
type Changes struct {
	Items []Change `json:"items" doc:"changes, the newest first"`
	Page
}

// Author says who acts, for operations that need no more.
type Author struct {
	Author string `json:"author,omitempty" doc:"who does it"`
}

// Scale is the number of connections that a tunnel should have.
type Scale struct {
	Connections int    `json:"connections" doc:"1 to 255"`
	Author      string `json:"author,omitempty" doc:"who does it"`
}

// SlotAction is an order for one slot.
type SlotAction struct {
	Epoch  uint64 `json:"epoch,omitempty" doc:"only if the slot has this epoch; absent for the present one"`
	Worker string `json:"worker_id,omitempty" doc:"of a move: the worker that gets the connection; absent for the best other one"`
	Edge   string `json:"edge_addr,omitempty" doc:"of a move: edge address IP:PORT; absent for a free one"`
	TTL    string `json:"ttl,omitempty" doc:"time in which it has to be carried out, such as 30s"`
	Author string `json:"author,omitempty" doc:"who does it"`
}
