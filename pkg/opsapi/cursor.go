package opsapi

import (
	"encoding/base64"
	"errors"
	"sort"
	"strconv"
)

// The sizes of a page.
const (
	DefaultLimit = 50
	MaxLimit     = 200
	// maxCursor bounds a cursor, in bytes.
	maxCursor = 1 << 10
)

// cursorPrefix tells cursors of this version apart.
const cursorPrefix = "1:"

// Cursor is the opaque form of the key of a page's last item.
func Cursor(key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorPrefix + key))
}

var (
	// ErrCursor says that a text is no cursor.
	ErrCursor = errors.New("cursor: is not the next_cursor of a page")
	errLimit  = errors.New("limit: is not a number from 1 to " + strconv.Itoa(MaxLimit))
)

// Window says which items of a list are wanted: those after a key, and how many at most.
type Window struct {
	// Began says that After counts: the empty key may be that of an item.
	Began bool
	After string
	Limit int
}

// ParseWindow reads the limit and the cursor of a request; empty is none.
func ParseWindow(limit, cursor string) (Window, error) {
	w := Window{Limit: DefaultLimit}
	if limit != "" {
		n, err := strconv.ParseUint(limit, 10, 16)
		if err != nil || n < 1 || n > MaxLimit {
			return Window{}, errLimit
		}
		w.Limit = int(n)
	}
	if cursor == "" {
		return w, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) > maxCursor || len(b) < len(cursorPrefix) || string(b[:len(cursorPrefix)]) != cursorPrefix {
		return Window{}, ErrCursor
	}
	w.Began, w.After = true, string(b[len(cursorPrefix):])
	return w, nil
}

// Cut gives the items of the window, and the cursor of the next one if there are more. The items are in the order of their keys, which
// differ. An item that was removed meanwhile breaks no cursor: a page begins after a key, not at an item.
func Cut[T any](items []T, key func(T) string, w Window) (page []T, next string) {
	if w.Began {
		items = items[sort.Search(len(items), func(i int) bool { return key(items[i]) > w.After }):]
	}
	if len(items) <= w.Limit {
		return items, ""
	}
	return items[:w.Limit], Cursor(key(items[w.Limit-1]))
}
