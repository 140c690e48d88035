package redisstore

import (
	"context"
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// RuleHeads reads the numbers of the newest configurations of all tunnels, unless the version is known; 0 is none.
func (s *Store) RuleHeads(ctx context.Context, known uint64) (rules.Heads, error) {
	return do(ctx, s, command.RuleHeads(known))
}

// Rules reads the versions of a tunnel's configuration, and what became of them at the proxies. Only the version with the number number
// comes with its document; 0 is the newest.
func (s *Store) Rules(ctx context.Context, id tunnel.ID, number uint64) (rules.History, error) {
	return do(ctx, s, command.Rules(id, number))
}

// RuleHistory is Rules without any document.
func (s *Store) RuleHistory(ctx context.Context, id tunnel.ID) (rules.History, error) {
	return do(ctx, s, command.RuleHistory(id))
}

// putTries bounds how often a version is sealed for another position, because proxies reported something in between.
const putTries = 8

// PutRules writes the next version of a tunnel's configuration, if the newest one still is the expected one (0: none), and returns
// its number. Of the head the author, the hash and the origin count; seal gives the document sealed for a position. tunnel.ErrConflict
// says that somebody else wrote first.
func (s *Store) PutRules(
	ctx context.Context, id tunnel.ID, expect uint64, head rules.Head, seal func(rules.Position) string,
) (number uint64, err error) {
	v := rules.Stored{Head: head}
	v.Position = rules.Position{Push: rules.NoPush} // number 0 asks
	for range putTries {
		r, err := command.PutRules(id, expect, v)
		if err != nil {
			return 0, err
		}
		put, err := do(ctx, s, r)
		if err != nil || put.Written {
			return put.Position.Number, err
		}
		v.Position = put.Position
		v.Sealed = seal(put.Position)
	}
	return 0, fmt.Errorf("configuration of tunnel %s: %w: the proxies change what they have in force too often", id, tunnel.ErrConflict)
}

// ResealRules replaces the sealed form of a version's document by one under another key. tunnel.ErrConflict says that it is
// another one by now.
func (s *Store) ResealRules(ctx context.Context, id tunnel.ID, number uint64, former, sealed string) error {
	_, err := do(ctx, s, command.ResealRules(id, number, former, sealed))
	return err
}

// ReportRules notes what a proxy has in force for a tunnel.
func (s *Store) ReportRules(ctx context.Context, id tunnel.ID, result rules.Result) error {
	r, err := command.ReportRules(id, result)
	if err != nil {
		return err
	}
	_, err = do(ctx, s, r)
	return err
}

// NoteRules notes a configuration that did not come through the store, unless it is known, and returns its number. Without a document it
// only asks: 0 says that it is not known.
func (s *Store) NoteRules(ctx context.Context, id tunnel.ID, v rules.Stored) (number uint64, err error) {
	r, err := command.NoteRules(id, v)
	if err != nil {
		return 0, err
	}
	return do(ctx, s, r)
}
