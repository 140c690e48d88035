package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func encode(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

func TestReadRequest(t *testing.T) {
	script, plain := encode("EVALSHA", "abc", "1", "key", "line\r\nof a value"), encode("get", "key")
	r := bufio.NewReader(strings.NewReader(script + plain))
	for _, want := range []request{{[]byte(script), "evalsha", "abc"}, {[]byte(plain), "get", ""}} {
		got, err := readRequest(r)
		if err != nil || got.name != want.name || got.sha != want.sha || !bytes.Equal(got.raw, want.raw) {
			t.Errorf("got %s %s %q, %v, want %s %s %q", got.name, got.sha, got.raw, err, want.name, want.sha, want.raw)
		}
	}
	if _, err := readRequest(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

func TestReadRequestRefuses(t *testing.T) {
	for _, text := range []string{
		"PING\r\n", "*-1\r\n", "*x\r\n", "*1\n", "*1\r\n:3\r\nabc\r\n", "*1\r\n$99999999999\r\n", "*1\r\n$1\r\nabc\r\n",
	} {
		if _, err := readRequest(bufio.NewReader(strings.NewReader(text))); !errors.Is(err, errProtocol) {
			t.Errorf("%q: %v, want %v", text, err, errProtocol)
		}
	}
	whole := encode("set", "key", "value")
	for n := 1; n < len(whole); n++ {
		if _, err := readRequest(bufio.NewReader(strings.NewReader(whole[:n]))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of it: %v, want %v", n, err, io.ErrUnexpectedEOF)
		}
	}
}

// FuzzReadRequest: whatever comes, what is read of it is passed on as it came.
func FuzzReadRequest(f *testing.F) {
	f.Add([]byte(encode("EVALSHA", "abc", "0") + encode("ping")))
	f.Add([]byte("*1\r\n$3\r\nget"))
	f.Fuzz(func(t *testing.T, input []byte) {
		r := bufio.NewReader(bytes.NewReader(input))
		var passed []byte
		for {
			q, err := readRequest(r)
			if err != nil {
				break
			}
			passed = append(passed, q.raw...)
		}
		if !bytes.HasPrefix(input, passed) {
			t.Errorf("of %q %q was passed on", input, passed)
		}
	})
}
