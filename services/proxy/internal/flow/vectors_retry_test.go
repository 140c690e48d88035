package flow_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// retryCase is one case of origin_retry.json, stream style.
type retryCase struct {
	Name   string        `json:"name"`
	Origin string        `json:"origin"`
	First  vectorRequest `json:"first"`
	Second vectorRequest `json:"second"`
	Stream struct {
		Error       *string `json:"error"`
		Status      *string `json:"status"`
		Connections int     `json:"origin_connections"`
		Requests    int     `json:"origin_requests_parsed"`
	} `json:"stream"`
}

// retryOrigin misbehaves the way a case says.
type retryOrigin struct {
	recorder
	mode string
	idle chan struct{} // closed when the peer has noticed the idle close
}

func (o *retryOrigin) serve(conn net.Conn) {
	o.open()
	br := bufio.NewReader(conn)
	for {
		s, err := readRequest(br)
		if err != nil {
			return
		}
		n := o.add(s)
		switch {
		case o.mode == "close-always":
			return
		case n == 2 && o.mode == "close-on-second":
			return
		case n == 2 && o.mode == "reset-on-second":
			_ = conn.(*net.TCPConn).SetLinger(0)
			return
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
		if n == 1 && o.mode == "idle-close" {
			_ = conn.(*net.TCPConn).CloseWrite()
			_, err := br.ReadByte() // the peer closes when it has read our FIN
			if errors.Is(err, io.EOF) || err != nil {
				close(o.idle)
			}
			return
		}
	}
}

func TestRetryVectors(t *testing.T) {
	for _, c := range load[retryCase](t, "origin_retry.json") {
		t.Run(c.Origin+"/"+c.Name, func(t *testing.T) {
			skipWebSocket(t, c.Second)
			o := &retryOrigin{mode: c.Origin, idle: make(chan struct{})}
			h := serve(t, rules(t, "http://"+rawOrigin(t, "tcp", o.serve)), nil)
			first := do(t, h, c.First.wire(), c.First.Body)
			if c.Origin == "idle-close" {
				testkit.Receive(t, "idle connection closed", o.idle)
			}
			if c.Origin != "close-always" && first.status != "200" {
				t.Fatalf("first response: %+v", first)
			}
			second := do(t, h, c.Second.wire(), c.Second.Body)
			if want := c.Stream.Status; want != nil && (second.status != *want || second.err != "") {
				t.Errorf("second response %+v, want status %s", second, *want)
			}
			if c.Stream.Error != nil && (second.err == "" || second.status != "502") {
				t.Errorf("second response %+v, want an error with status 502", second)
			}
			if got := o.connections(); got != c.Stream.Connections {
				t.Errorf("origin saw %d connections, want %d", got, c.Stream.Connections)
			}
			if got := len(o.all()); got != c.Stream.Requests {
				t.Errorf("origin saw %d requests, want %d", got, c.Stream.Requests)
			}
		})
	}
}
