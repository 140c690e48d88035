package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The largest command that is accepted.
const (
	maxWords = 1 << 20
	maxWord  = 64 << 20
)

var errProtocol = errors.New("no command of the store's protocol")

// request is one command on its way to the store.
type request struct {
	// raw is what the client sent.
	raw []byte
	// name is the command in lower case, and sha the script that it runs, if it does.
	name, sha string
}

// readRequest reads the next command: an array of strings, as every client library sends it. io.EOF says that there is none.
func readRequest(r *bufio.Reader) (request, error) {
	var raw bytes.Buffer
	words, err := number(r, &raw, '*', maxWords)
	if err != nil {
		return request{}, err
	}
	var q request
	for i := range words {
		size, err := number(r, &raw, '$', maxWord)
		if err != nil {
			return request{}, ended(err)
		}
		start := raw.Len()
		if _, err := io.CopyN(&raw, r, int64(size)+2); err != nil {
			return request{}, ended(err)
		}
		word := raw.Bytes()[start:]
		if !bytes.HasSuffix(word, []byte("\r\n")) {
			return request{}, fmt.Errorf("%w: word %d has no end", errProtocol, i)
		}
		word = word[:size]
		switch {
		case i == 0:
			q.name = strings.ToLower(string(word))
		case i == 1 && q.name == "evalsha":
			q.sha = string(word)
		}
	}
	q.raw = raw.Bytes()
	return q, nil
}

// number reads a line of a mark and a number, and appends it to raw.
func number(r *bufio.Reader, raw *bytes.Buffer, mark byte, most int) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if len(line) > 0 {
			err = ended(err)
		}
		return 0, err
	}
	raw.Write(line)
	text, found := strings.CutSuffix(string(line), "\r\n")
	if !found || text == "" || text[0] != mark {
		return 0, fmt.Errorf("%w: %q instead of %q", errProtocol, text, mark)
	}
	n, err := strconv.ParseUint(text[1:], 10, 31)
	if err != nil || n > uint64(most) {
		return 0, fmt.Errorf("%w: %q", errProtocol, text)
	}
	return int(n), nil
}

// ended makes the end of the input within a command an error.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
