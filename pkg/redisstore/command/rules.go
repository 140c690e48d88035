package command

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	opRuleHeads   = "read newest configurations"
	opRules       = "read configurations"
	opPutRules    = "set configuration"
	opReportRules = "report configuration"
	opNoteRules   = "note configuration"
	opResealRules = "seal configuration anew"
)

// headBody is the stored form of what the writer says about a version.
type headBody struct {
	Author       string `json:"author,omitempty"`
	Hash         string `json:"hash,omitempty"`
	Source       string `json:"source,omitempty"`
	RestoredFrom uint64 `json:"restored_from,omitempty"`
}

// RuleHeads reads the numbers of the newest configurations of all tunnels, unless the version is known; 0 is none.
func RuleHeads(known uint64) Request[rules.Heads] {
	return Request[rules.Heads]{
		Op: opRuleHeads,
		Command: Command{
			Script: scriptRuleHeads, Keys: []string{ruleHeadsKey()}, Args: []string{strconv.FormatUint(known, 10)},
		},
		Decode: func(reply any) (rules.Heads, error) {
			words, err := texts(opRuleHeads, reply)
			if err != nil {
				return rules.Heads{}, err
			}
			if len(words) < 2 || len(words)%2 != 0 || words[0] != "all" && (words[0] != "same" || len(words) > 2) {
				return rules.Heads{}, badReply(opRuleHeads, reply)
			}
			h := rules.Heads{Same: words[0] == "same", Tunnels: map[tunnel.ID]uint64{}}
			h.Version, _ = strconv.ParseUint(words[1], 10, 63) // one that cannot be read is read again, until the next change
			for e := words[2:]; len(e) > 0; e = e[2:] {
				id, err := tunnel.ParseID(e[0])
				number, err2 := strconv.ParseUint(e[1], 10, 63)
				if err == nil && err2 == nil { // what cannot be read hides nothing else
					h.Tunnels[id] = number
				}
			}
			return h, nil
		},
	}
}

// Rules reads the versions of a tunnel's configuration, and what became of them at the proxies. Only the version with the number number
// comes with its document; 0 is the newest.
func Rules(id tunnel.ID, number uint64) Request[rules.History] {
	return readRules(id, strconv.FormatUint(number, 10))
}

// RuleHistory is Rules without any document.
func RuleHistory(id tunnel.ID) Request[rules.History] { return readRules(id, "") }

func readRules(id tunnel.ID, wanted string) Request[rules.History] {
	return Request[rules.History]{
		Op:      opRules,
		Command: Command{Script: scriptRules, Keys: []string{rulesKey(id)}, Args: []string{wanted}},
		Decode:  decodeRules,
	}
}

func decodeRules(reply any) (rules.History, error) {
	words, err := texts(opRules, reply)
	if err != nil {
		return rules.History{}, err
	}
	if len(words)%entryWords != 1 {
		return rules.History{}, badReply(opRules, reply)
	}
	push, err := strconv.ParseInt(words[0], 10, 32)
	if err != nil {
		return rules.History{}, badReply(opRules, reply)
	}
	h := rules.History{Push: int32(push)}
	for e := words[1:]; len(e) > 0; e = e[entryWords:] {
		if err := takeRules(&h, e[:entryWords]); err != nil {
			h.Damaged = append(h.Damaged, fmt.Sprintf("%s %s: %v", e[0], e[1], err))
		}
	}
	byNumber := func(a, b rules.Stored) int { return cmp.Compare(a.Number, b.Number) }
	slices.SortFunc(h.Versions, byNumber)
	slices.SortFunc(h.Notes, byNumber)
	slices.SortFunc(h.Results, func(a, b rules.Result) int { return cmp.Compare(a.Proxy, b.Proxy) })
	return h, nil
}

// takeRules reads the words of one version or result.
func takeRules(h *rules.History, e []string) error {
	ms, err := strconv.ParseInt(e[3], 10, 53)
	if err != nil {
		return fmt.Errorf("%q is no time", e[3])
	}
	changed := time.UnixMilli(ms).UTC()
	if e[0] == "result" {
		r := rules.Result{}
		if err := json.Unmarshal([]byte(e[4]), &r); err != nil {
			return err
		}
		r.Proxy, r.Changed = e[1], changed
		h.Results = append(h.Results, r)
		return nil
	}
	number, err := strconv.ParseUint(e[1], 10, 63)
	if err != nil {
		return fmt.Errorf("%q is no number", e[1])
	}
	push, err := strconv.ParseInt(e[2], 10, 32)
	if err != nil {
		return fmt.Errorf("%q is no version of a push", e[2])
	}
	var body headBody
	if err := json.Unmarshal([]byte(e[4]), &body); err != nil {
		return err
	}
	v := rules.Stored{
		Head: rules.Head{
			Position: rules.Position{Push: int32(push), Number: number}, Author: body.Author, Hash: body.Hash,
			RestoredFrom: body.RestoredFrom, Source: rules.SourceAPI, Changed: changed,
		},
		Sealed: e[5],
	}
	if e[0] == "note" {
		v.Source = rules.Source(body.Source)
		h.Notes = append(h.Notes, v)
		return nil
	}
	h.Versions = append(h.Versions, v)
	return nil
}

// PutRules writes the next version of a tunnel's configuration, if the newest one still is the expected one (0: none). It is written only
// if its position is free and on top of the newest push; the reply says which one is, and the document has to be sealed for it. Of the
// head the position, the author, the hash and the origin count. tunnel.ErrConflict says that somebody else wrote first.
func PutRules(id tunnel.ID, expect uint64, v rules.Stored) (Request[rules.Put], error) {
	if err := rules.CheckAuthor(v.Author); err != nil {
		return Request[rules.Put]{}, fmt.Errorf("%s: %w", opPutRules, err)
	}
	head, err := json.Marshal(headBody{Author: v.Author, Hash: v.Hash, RestoredFrom: v.RestoredFrom})
	if err != nil {
		return Request[rules.Put]{}, fmt.Errorf("%s: %w", opPutRules, err)
	}
	return Request[rules.Put]{
		Op: opPutRules,
		Command: Command{
			Script: scriptPutRules, Keys: []string{ruleHeadsKey(), rulesKey(id)},
			Args: []string{
				id.String(), strconv.FormatUint(expect, 10), string(head), strconv.FormatUint(v.Number, 10), strconv.FormatInt(int64(v.Push), 10),
				v.Sealed, strconv.Itoa(rules.MaxVersions),
			},
		},
		Decode: func(reply any) (rules.Put, error) { return decodePut(id, v.Position, reply) },
	}, nil
}

func decodePut(id tunnel.ID, at rules.Position, reply any) (rules.Put, error) {
	words, err := texts(opPutRules, reply)
	if err != nil {
		return rules.Put{}, err
	}
	if len(words) != 3 || words[0] != "next" {
		number, err := version(opPutRules, "tunnel "+id.String())(reply)
		if err != nil {
			return rules.Put{}, err
		}
		return rules.Put{Written: true, Position: rules.Position{Push: at.Push, Number: number}}, nil
	}
	number, err := strconv.ParseUint(words[1], 10, 63)
	push, err2 := strconv.ParseInt(words[2], 10, 32)
	if err != nil || err2 != nil || number == 0 {
		return rules.Put{}, badReply(opPutRules, reply)
	}
	return rules.Put{Position: rules.Position{Push: int32(push), Number: number}}, nil
}

// ResealRules replaces the sealed form of a version's document by one under another key. tunnel.ErrConflict says that it is
// another one by now.
func ResealRules(id tunnel.ID, number uint64, former, sealed string) Request[Done] {
	return Request[Done]{
		Op:      opResealRules,
		Command: Command{Script: scriptResealRules, Keys: []string{rulesKey(id)}, Args: []string{strconv.FormatUint(number, 10), former, sealed}},
		Decode: func(reply any) (Done, error) {
			switch word, err := text(opResealRules, reply); {
			case err != nil:
				return Done{}, err
			case word == "changed":
				return Done{}, fmt.Errorf("%s: version %d: %w", opResealRules, number, tunnel.ErrConflict)
			case word != "ok":
				return Done{}, badReply(opResealRules, reply)
			}
			return Done{}, nil
		},
	}
}

// ReportRules notes what a proxy has in force for a tunnel.
func ReportRules(id tunnel.ID, r rules.Result) (Request[Done], error) {
	proxy := r.Proxy
	r.Proxy, r.Changed, r.Error = "", time.Time{}, r.Error[:min(len(r.Error), rules.MaxError)]
	text, err := json.Marshal(r)
	if err != nil {
		return Request[Done]{}, fmt.Errorf("%s: %w", opReportRules, err)
	}
	return Request[Done]{
		Op: opReportRules,
		Command: Command{
			Script: scriptReportRules, Keys: []string{rulesKey(id)},
			Args: []string{
				proxy, strconv.FormatInt(int64(r.InForce.Push), 10), strconv.FormatUint(r.InForce.Number, 10), string(text),
				strconv.Itoa(rules.MaxResults),
			},
		},
		Decode: done(opReportRules),
	}, nil
}

// NoteRules notes a configuration that did not come through the store, unless it is known, and returns its number. Of the head the push,
// the author, the hash and the source count. Without a document it only asks: 0 says that it is not known.
func NoteRules(id tunnel.ID, v rules.Stored) (Request[uint64], error) {
	if err := rules.CheckAuthor(v.Author); err != nil {
		return Request[uint64]{}, fmt.Errorf("%s: %w", opNoteRules, err)
	}
	head, err := json.Marshal(headBody{Author: v.Author, Hash: v.Hash, Source: string(v.Source)})
	if err != nil {
		return Request[uint64]{}, fmt.Errorf("%s: %w", opNoteRules, err)
	}
	push := strconv.FormatInt(int64(v.Push), 10)
	return Request[uint64]{
		Op: opNoteRules,
		Command: Command{
			Script: scriptNoteRules, Keys: []string{rulesKey(id)},
			Args: []string{string(v.Source) + "/" + push + "/" + v.Hash, push, string(head), v.Sealed, strconv.Itoa(rules.MaxNotes)},
		},
		Decode: func(reply any) (uint64, error) {
			words, err := texts(opNoteRules, reply)
			if err != nil {
				return 0, err
			}
			if len(words) != 2 || words[0] != "ok" && words[0] != "unknown" {
				return 0, badReply(opNoteRules, reply)
			}
			number, err := strconv.ParseUint(words[1], 10, 63)
			if err != nil {
				return 0, badReply(opNoteRules, reply)
			}
			return number, nil
		},
	}, nil
}
