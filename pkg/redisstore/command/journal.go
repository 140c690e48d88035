package command

import (
	"fmt"
	"regexp"
	"strconv"
)

// The journals.
const (
	Audit  = "audit"  // changes that operators made
	Events = "events" // what happened in the deployment
)

// Entry is an entry of a journal. IDs grow; they are the store's time in ms, a dash, and a number.
type Entry struct {
	ID   string
	Body string
}

var entryID = regexp.MustCompile(`^[0-9]{1,18}-[0-9]{1,18}$`)

// IsEntryID reports whether text may be the id of an entry.
func IsEntryID(text string) bool { return entryID.MatchString(text) }

const entryField = "body"

// Append adds an entry to a journal and returns its id. Of more than most entries the oldest are removed.
func Append(journal, body string, most int) Request[string] {
	op := "append to " + journal
	return Request[string]{
		Op: op, Command: plain("xadd", journalKey(journal), "maxlen", "=", strconv.Itoa(most), "*", entryField, body),
		Decode: func(reply any) (string, error) {
			id, err := text(op, reply)
			if err == nil && !IsEntryID(id) {
				return "", badReply(op, reply)
			}
			return id, err
		},
	}
}

// After reads at most count entries of a journal after the one with an id, the oldest first; an empty id begins with the oldest.
func After(journal, id string, count int) Request[[]Entry] {
	from := "-"
	if id != "" {
		from = "(" + id
	}
	return entries(journal, "xrange", from, "+", count)
}

// Before reads at most count entries of a journal before the one with an id, the newest first; an empty id begins with the newest.
func Before(journal, id string, count int) Request[[]Entry] {
	from := "+"
	if id != "" {
		from = "(" + id
	}
	return entries(journal, "xrevrange", from, "-", count)
}

func entries(journal, word, from, to string, count int) Request[[]Entry] {
	op := "read " + journal
	return Request[[]Entry]{
		Op: op, Command: plain(word, journalKey(journal), from, to, "count", strconv.Itoa(count)),
		Decode: func(reply any) ([]Entry, error) {
			list, ok := reply.([]any)
			if !ok {
				return nil, badReply(op, reply)
			}
			out := make([]Entry, 0, len(list))
			for _, item := range list {
				e, err := entry(item)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", op, err)
				}
				out = append(out, e)
			}
			return out, nil
		},
	}
}

// entry reads an id with its fields.
func entry(item any) (Entry, error) {
	pair, ok := item.([]any)
	if !ok || len(pair) != 2 {
		return Entry{}, fmt.Errorf("unexpected entry %v", item)
	}
	id, isText := pair[0].(string)
	fields, isList := pair[1].([]any)
	if !isText || !isList || !IsEntryID(id) || len(fields)%2 != 0 {
		return Entry{}, fmt.Errorf("unexpected entry %v", item)
	}
	e := Entry{ID: id}
	for i := 0; i < len(fields); i += 2 {
		if body, ok := fields[i+1].(string); ok && fields[i] == any(entryField) {
			e.Body = body
		}
	}
	return e, nil
}
