package live

import (
	"context"

	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// noteKey names what a proxy has of one kind for a tunnel: the push in force, or local rules.
type noteKey struct {
	tunnel tunnel.ID
	pushed bool
}

// note is a document that is noted in the store.
type note struct {
	document *Document
	hash     string
}

// note notes in the store what did not come through it, so that the history has every configuration that a proxy accepted. The same
// document from many proxies is one note: each asks first, and sends the document only if it is not known.
func (f *follower) note(ctx context.Context) error {
	seen := f.state.Seen()
	for k := range f.noted {
		if of(seen[k.tunnel], k.pushed) == nil {
			delete(f.noted, k)
		}
	}
	for id, s := range seen {
		for _, pushed := range []bool{false, true} {
			k, d := noteKey{id, pushed}, of(s, pushed)
			if d == nil || f.noted[k].document == d {
				continue
			}
			hash, err := f.noteOne(ctx, id, d)
			if err != nil {
				return err
			}
			f.noted[k] = note{document: d, hash: hash}
		}
	}
	return nil
}

func of(s Seen, pushed bool) *Document {
	if pushed {
		return s.Pushed
	}
	return s.Local
}

// noteOne notes one document. One that is too large for the store is only known by its hash.
func (f *follower) noteOne(ctx context.Context, id tunnel.ID, d *Document) (hash string, err error) {
	v := rules.Stored{Head: rules.Head{
		Position: rules.Position{Push: d.Push}, Author: f.proxy, Source: d.Source, Hash: f.key.Hash(d.Text),
	}}
	if d.Source == rules.SourcePush {
		v.Author = "edge"
	}
	if rules.CheckAuthor(v.Author) != nil { // the name of a proxy may be anything
		v.Author = ""
	}
	number, err := f.store.NoteRules(ctx, id, v)
	if err == nil && number == 0 && len(d.Text) <= rules.MaxDocument {
		v.Sealed = f.key.Seal(id, v.SealedFor(), d.Text)
		_, err = f.store.NoteRules(ctx, id, v)
	}
	return v.Hash, err
}
