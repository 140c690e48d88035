package redisstore

import (
	"context"

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

// PutRules writes the next version of a tunnel's configuration, if the newest one still is the expected one (0: none), and returns
// its number. Of the head the author, the hash and the origin count. tunnel.ErrConflict says that somebody else wrote first.
func (s *Store) PutRules(ctx context.Context, id tunnel.ID, expect uint64, v rules.Stored) (number uint64, err error) {
	r, err := command.PutRules(id, expect, v)
	return s.change(ctx, r, err)
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
