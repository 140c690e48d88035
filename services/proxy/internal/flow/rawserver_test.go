package flow_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// seen is a request as it was on the wire.
type seen struct {
	Line    string
	Headers [][2]string // in wire order
	Framing string
	Body    string
	// Trailers are those that came behind a chunked body.
	Trailers http.Header
}

// rawOrigin serves connections with a function, one goroutine each, and waits for them in the end.
func rawOrigin(t testing.TB, network string, serve func(c net.Conn)) string {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = t.TempDir() + "/o.sock"
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// readRequest takes one request off a connection.
func readRequest(br *bufio.Reader) (seen, error) {
	const tlsHandshake = 0x16
	if b, err := br.Peek(1); err != nil || b[0] == tlsHandshake {
		return seen{}, io.ErrUnexpectedEOF
	}
	tp := textproto.NewReader(br)
	line, err := tp.ReadLine()
	if err != nil {
		return seen{}, err
	}
	s := seen{Line: line, Framing: "none"}
	length := 0
	for {
		h, err := tp.ReadLine()
		if err != nil {
			return s, err
		}
		if h == "" {
			break
		}
		name, value, _ := strings.Cut(h, ": ")
		s.Headers = append(s.Headers, [2]string{name, value})
		switch strings.ToLower(name) {
		case "content-length":
			s.Framing = "content-length"
			length, _ = strconv.Atoi(value)
		case "transfer-encoding":
			s.Framing = "chunked"
		}
	}
	var body []byte
	switch s.Framing {
	case "content-length":
		body = make([]byte, length)
		_, err = io.ReadFull(br, body)
	case "chunked":
		// The reader of the standard library needs a request around a chunked body.
		var r *http.Request
		r, err = http.ReadRequest(bufio.NewReader(io.MultiReader(
			strings.NewReader("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"), br)))
		if err == nil {
			body, err = io.ReadAll(r.Body)
			s.Trailers = r.Trailer
		}
	}
	s.Body = string(body)
	return s, err
}

// recorder responses every request with the same bytes and keeps what it saw.
type recorder struct {
	mu       sync.Mutex
	requests []seen
	conns    int
}

func (r *recorder) all() []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]seen(nil), r.requests...)
}

func (r *recorder) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conns
}

// open counts a connection.
func (r *recorder) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns++
}

func (r *recorder) add(s seen) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, s)
	return len(r.requests)
}
