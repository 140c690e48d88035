package live

import (
	"bytes"
	"log/slog"
	"maps"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/localrules"
)

// Where local rules come from.
const (
	SourceFile  = rules.SourceFile
	SourceFlags = rules.SourceFlags
)

// Seen are the configurations of one tunnel that did not come through the store; the zero tunnel has the local rules for all others.
type Seen struct {
	// Pushed is what the edge pushed and is in force, and Local the local rules, whether they are in force or not. Each may be nil, and
	// the same pointer is the same document.
	Pushed, Local *Document
}

// Seen gives the configurations that did not come through the store.
func (s *State) Seen() map[tunnel.ID]Seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[tunnel.ID]Seen, len(s.tunnels)+len(s.documents))
	for id, d := range s.documents {
		out[id] = Seen{Local: d}
	}
	for id, p := range s.tunnels {
		if p.document != nil {
			out[id] = Seen{Pushed: p.document, Local: out[id].Local}
		}
	}
	return out
}

// documentsOf writes local rules as documents. A document that stays the same keeps its pointer. One that cannot be written, because a rule
// could not be read and refuses every request, is in force all the same.
func (s *State) documentsOf(local localrules.Rules) map[tunnel.ID]*Document {
	sets := map[tunnel.ID]*ingress.Set{{}: local.General}
	maps.Copy(sets, local.Tunnels)
	s.mu.Lock()
	defer s.mu.Unlock()
	former, unnoted := s.documents, map[tunnel.ID]string{}
	out := make(map[tunnel.ID]*Document, len(sets))
	for id, set := range sets {
		text, err := set.SourceJSON()
		if err == nil && len(text) > rules.MaxDocument {
			err = errTooLarge
		}
		if err != nil {
			unnoted[id] = err.Error()
			if s.unnoted[id] == unnoted[id] {
				continue // it was said
			}
			s.cfg.Logger.Warn("local configuration not noted in the history", slog.String(logkey.TunnelID, id.String()), slog.Any(logkey.Err, err))
			continue
		}
		if text == nil {
			continue
		}
		out[id] = &Document{Source: local.Source, Push: rules.NoPush, Text: text}
		if f := former[id]; f != nil && bytes.Equal(f.Text, text) {
			out[id] = f
		}
	}
	s.unnoted = unnoted
	return out
}
