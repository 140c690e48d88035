package redisstore

import (
	"context"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// Tokens reads the tokens of the ops API, by id.
func (s *Store) Tokens(ctx context.Context) ([]opstoken.Token, error) {
	return do(ctx, s, command.Tokens())
}

// PutToken writes a token.
func (s *Store) PutToken(ctx context.Context, t opstoken.Token) error {
	r, err := command.PutToken(t)
	return s.put(ctx, r, err)
}

// RemoveToken removes a token, and reports whether there was one.
func (s *Store) RemoveToken(ctx context.Context, id string) (bool, error) {
	return do(ctx, s, command.RemoveToken(id))
}

// UseToken notes when a token was used last.
func (s *Store) UseToken(ctx context.Context, id string, at time.Time) error {
	_, err := do(ctx, s, command.UseToken(id, at))
	return err
}

// Append adds an entry to a journal (command.Audit, command.Events) and returns its id. Of more than most entries the oldest are removed.
func (s *Store) Append(ctx context.Context, journal, body string, most int) (id string, err error) {
	return do(ctx, s, command.Append(journal, body, most))
}

// After reads at most count entries of a journal after the one with an id, the oldest first; an empty id begins with the oldest.
func (s *Store) After(ctx context.Context, journal, id string, count int) ([]command.Entry, error) {
	return do(ctx, s, command.After(journal, id, count))
}

// Before reads at most count entries of a journal before the one with an id, the newest first; an empty id begins with the newest.
func (s *Store) Before(ctx context.Context, journal, id string, count int) ([]command.Entry, error) {
	return do(ctx, s, command.Before(journal, id, count))
}

// Claim marks the request with a key as one that runs, unless it was marked before, and reports whether it did.
func (s *Store) Claim(ctx context.Context, key, mark string, ttl time.Duration) (bool, error) {
	return do(ctx, s, command.Claim(key, mark, ttl))
}

// Claimed reads the mark or the response of the request with a key; tunnel.ErrNotFound if there is none.
func (s *Store) Claimed(ctx context.Context, key string) (string, error) {
	return do(ctx, s, command.Claimed(key))
}

// Settle replaces the mark of a request by its response.
func (s *Store) Settle(ctx context.Context, key, response string, ttl time.Duration) error {
	_, err := do(ctx, s, command.Settle(key, response, ttl))
	return err
}

// Unclaim removes the mark of a request that changed nothing.
func (s *Store) Unclaim(ctx context.Context, key string) error {
	_, err := do(ctx, s, command.Unclaim(key))
	return err
}
