package flow_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
)

// behaving is an origin of the recorded stream cases, with what it got.
type behaving struct {
	addr string

	mu   sync.Mutex
	got  []byte
	eof  bool
	over chan struct{} // one value for each connection that ended
}

// behave starts an origin; "until eof" behaviours read on until the far end says so.
func behave(t *testing.T, how string) *behaving {
	t.Helper()
	o := &behaving{over: make(chan struct{}, 16)}
	o.addr = rawOrigin(t, "tcp", func(c net.Conn) {
		defer func() { o.over <- struct{}{} }()
		tcp := c.(*net.TCPConn)
		switch how {
		case "greet":
			_, _ = io.WriteString(c, "220 hello\r\n")
		case "close-write-first":
			_, _ = io.WriteString(c, "bye")
			_ = tcp.CloseWrite()
		case "reset":
			_, _ = c.Read(make([]byte, 1))
			_ = tcp.SetLinger(0)
			return
		}
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			o.mu.Lock()
			o.got = append(o.got, buf[:n]...)
			o.eof = o.eof || err == io.EOF //nolint:errorlint // the bare value is the end
			o.mu.Unlock()
			if err != nil {
				break
			}
			if how == "echo" || how == "greet" {
				_, _ = c.Write(buf[:n])
			}
		}
		if how == "reply-after-eof" {
			_, _ = io.WriteString(c, "answer to "+string(o.got))
		}
	})
	return o
}

func (o *behaving) result() (got string, eof bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.got), o.eof
}

// streamResult is what came of a recorded stream.
type streamResult struct {
	End      string          `json:"end"`
	Error    string          `json:"error"`
	Metadata [][2]string     `json:"metadata"`
	Received json.RawMessage `json:"received"`
	Origin   struct {
		Got json.RawMessage `json:"got"`
		EOF bool            `json:"saw_eof"`
	} `json:"origin"`
}

// blob reads the forms of bytes that the files have: text, {"hex"}, {"head_hex", "length"} of repeated bytes.
func blob(t *testing.T, raw json.RawMessage) []byte {
	t.Helper()
	if len(raw) == 0 {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []byte(text)
	}
	var b struct {
		Hex    string `json:"hex"`
		Head   string `json:"head_hex"`
		Length int    `json:"length"`
	}
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	out, err := hex.DecodeString(b.Hex + b.Head)
	if err != nil {
		t.Fatal(err)
	}
	if b.Length > 0 {
		period := 4
		for len(out) < b.Length { // the rest repeats the last four bytes, which a mask and a constant do
			out = append(out, out[len(out)-period])
		}
	}
	return out
}

type tcpCase struct {
	Name        string `json:"name"`
	Destination string `json:"destination"`
	Behaviour   string `json:"origin_behaviour"`
	Actions     []struct {
		Send      string `json:"send"`
		HalfClose bool   `json:"half_close"`
	} `json:"actions"`
	Stream streamResult `json:"stream"`
	HTTP2  streamResult `json:"http2"`
}

// tcpDifferences are the cases of tcp_streams.json where we differ on purpose, with the row of docs/spec/ingress.md 14.
var tcpDifferences = map[string]struct {
	row      string
	received string
	got      string
	aborted  bool
}{
	"origin answers only after the client half-closed": {
		row:      "D10: the end is passed on and the response waited for",
		received: "answer to query", got: "query",
	},
	"origin half-closes first while the client still sends": {row: "D10: the client's bytes still arrive", received: "bye", got: "late"},
	"origin resets": {row: "D10: a reset is passed on as one", aborted: true},
}

func TestTCPVectors(t *testing.T) {
	used := 0
	for _, c := range load[tcpCase](t, "tcp_streams.json") {
		t.Run(c.Name, func(t *testing.T) {
			how := c.Behaviour
			if how == "" {
				how = "sink"
			}
			o := behave(t, how)
			dest := strings.ReplaceAll(c.Destination, "ORIGIN", o.addr)
			set := rules(t, "http_status:404")
			if strings.Contains(c.Name, "over the limit") {
				set = compile(t, "warp-routing: {maxActiveFlows: 1}\ningress: [{service: 'http_status:404'}]\n")
			}
			h := serve(t, set, nil)
			if strings.Contains(c.Name, "over the limit") {
				first := start(t, h, stream.Request{Dest: dest, Type: stream.TCP})
				if _, _, err := first.head(); err != nil {
					t.Fatal(err)
				}
				defer func() {
					_ = first.send.Close()
					_, _ = io.Copy(io.Discard, first.recv)
					first.wait()
					again := start(t, h, stream.Request{Dest: dest, Type: stream.TCP})
					if r, _, err := again.head(); err != nil || r.Error != "" {
						t.Errorf("the place was not given back: %+v, %v", r, err)
					}
				}()
			}
			f := start(t, h, stream.Request{Dest: dest, Type: stream.TCP})
			go func() {
				for _, a := range c.Actions {
					_, _ = io.WriteString(f.send, a.Send)
				}
				if c.Behaviour != "reset" {
					_ = f.send.Close()
				}
			}()
			a := f.finish()
			f.wait()
			want, got := string(blob(t, c.Stream.Received)), string(blob(t, c.Stream.Origin.Got))
			d, differs := tcpDifferences[c.Name]
			if differs {
				used++
				want, got = d.received, d.got
				t.Logf("differs on purpose: %s", d.row)
			}
			if d.aborted != (a.end != nil) || !d.aborted && a.body != want {
				t.Errorf("received %q, %v, want %q", a.body, a.end, want)
			}
			wantErr := strings.ReplaceAll(c.Stream.Error, "ORIGIN", dest)
			if a.err != wantErr {
				t.Errorf("error %q, want %q", a.err, wantErr)
			}
			var pairs []string
			for _, m := range c.Stream.Metadata {
				pairs = append(pairs, m[0]+": "+m[1])
			}
			if a.status != "" || strings.Join(a.pairs, "|") != strings.Join(pairs, "|") {
				t.Errorf("metadata %v, status %q, want %v", a.pairs, a.status, pairs)
			}
			if c.Behaviour == "" || strings.Contains(c.Name, "over the limit") {
				return
			}
			<-o.over
			if ogot, eof := o.result(); ogot != got || !d.aborted && !eof {
				t.Errorf("origin got %q, eof %v, want %q", ogot, eof, got)
			}
		})
	}
	if used != len(tcpDifferences) {
		t.Errorf("%d of %d differences met", used, len(tcpDifferences))
	}
}

type serviceCase struct {
	Name      string      `json:"name"`
	Service   string      `json:"service"`
	Behaviour string      `json:"origin_behaviour"`
	WebSocket bool        `json:"websocket"`
	Headers   [][2]string `json:"headers"`
	Actions   []struct {
		Send      json.RawMessage `json:"send"`
		HalfClose bool            `json:"half_close"`
	} `json:"actions"`
	OriginRequest []string     `json:"originRequest"`
	Stream        streamResult `json:"stream"`
}

// closeNormal ends each of our responses: the reference sends no close frame of its own.
const closeNormal = "880203e8"

// serviceDifferences are the cases of tcp_over_websocket.json where we differ on purpose.
var serviceDifferences = map[string]struct {
	row      string
	received string // hex, without the close frame
	close    string
	got      string // "same" is as recorded
	reset    bool   // the origin's connection is reset
}{
	"text message is dropped":               {row: "D11: text is bytes", received: "820474657874" + "820362696e", got: "textbin"},
	"message of 16385 bytes loses its tail": {row: "D11: nothing is lost", got: strings.Repeat("C", 16385)},
	"unmasked client frame": {
		row: "8.3 with RFC 6455: close 1002; D10: no orderly end for the origin", close: "880203ea",
		reset: true,
	},
	"garbage instead of frames":  {row: "as above", close: "880203ea", reset: true},
	"plain GET to a tcp service": {row: "D12: 426"},
	"fragmented message":         {row: "fragments go on as they come", got: "onetwo", received: "merged"},
	"binary message echoed":      {row: "same", received: "820568656c6c6f", got: "hello"},
	"socks-proxy version 4":      {row: "same but the close frame", got: ""},
}

// settingsOf are the settings that the recording used, which the file tells by the case's name.
func settingsOf(name string) []string {
	switch {
	case strings.HasPrefix(name, "socks-proxy with allow rule"), strings.HasPrefix(name, "socks-proxy bind"):
		return []string{"ipRules: [{prefix: 127.0.0.0/8, allow: true}]"}
	case strings.HasPrefix(name, "proxyType socks"):
		return []string{"proxyType: socks"}
	}
	return nil
}

// socksRequest makes the message that the file describes in words.
func socksRequest(t *testing.T, words, origin string) []byte {
	t.Helper()
	host, port, err := net.SplitHostPort(origin)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(words, "9.9.9.9:80") {
		host, port = "9.9.9.9", "80"
	}
	command := byte(1)
	if strings.Contains(words, "05 02 00 01") {
		command = 2
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte{5, command, 0, 1}, net.ParseIP(host).To4()...)
	return websocket.AppendMasked(nil, websocket.Binary, [4]byte{1, 2, 3, 4}, append(b, byte(n>>8), byte(n)))
}

// payloads joins the data frames of a server and gives its close frame.
func payloads(t *testing.T, b []byte) (data []byte, closing string) {
	t.Helper()
	var d websocket.Decoder
	for len(b) > 0 {
		ev, n, err := d.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		b = b[n:]
		switch ev.Kind {
		case websocket.Data:
			data = append(data, ev.Payload...)
		case websocket.Control:
			closing = hex.EncodeToString(websocket.AppendControl(nil, ev.Opcode, ev.Payload))
		case websocket.More:
		}
	}
	return data, closing
}

func TestServiceVectors(t *testing.T) {
	for _, c := range load[serviceCase](t, "tcp_over_websocket.json") {
		t.Run(c.Name, func(t *testing.T) {
			o := behave(t, c.Behaviour)
			service := strings.ReplaceAll(c.Service, "ORIGIN", o.addr)
			req := get("GET", "/")
			for _, h := range c.Headers {
				req.Metadata = append(req.Metadata, stream.Pair{Key: stream.HeaderPrefix + h[0], Val: strings.ReplaceAll(h[1], "ORIGIN", o.addr)})
			}
			if c.WebSocket {
				req.Type = stream.WebSocket
			}
			f := start(t, serve(t, rules(t, service, settingsOf(c.Name)...), nil), req)
			go sendActions(t, f, c, o.addr)
			a := f.finish()
			f.wait()
			if !c.WebSocket {
				if a.status != "426" {
					t.Errorf("response %+v", a)
				}
				return
			}
			checkService(t, c, a, o)
		})
	}
}

func sendActions(t *testing.T, f *call, c serviceCase, origin string) {
	for _, act := range c.Actions {
		if len(act.Send) == 0 {
			continue
		}
		b := blob(t, act.Send)
		if strings.HasPrefix(string(b), "websocket binary message") {
			b = socksRequest(t, string(b), origin)
		}
		_, _ = f.send.Write(b)
	}
	_ = f.send.Close()
}

func checkService(t *testing.T, c serviceCase, a response, o *behaving) {
	t.Helper()
	d, differs := serviceDifferences[c.Name]
	wantClose := closeNormal
	if differs {
		t.Logf("differs on purpose: %s", d.row)
		if d.close != "" {
			wantClose = d.close
		}
	}
	if a.status != "101" || a.end != nil || len(a.pairs) != 3 || a.values("Sec-Websocket-Accept")[0] != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("response %+v", a)
	}
	data, closing := payloads(t, []byte(a.body))
	want, _ := payloads(t, blob(t, c.Stream.Received))
	if differs && d.received != "" && d.received != "merged" {
		b, _ := hex.DecodeString(d.received)
		want, _ = payloads(t, b)
	}
	if strings.Contains(c.Name, "socks") || strings.Contains(c.Name, "proxyType") {
		data = zeroPort(data)
	}
	if !bytes.Equal(data, want) || closing != wantClose {
		t.Errorf("received %x and %s, want %x and %s", data, closing, want, wantClose)
	}
	wantGot := string(blob(t, c.Stream.Origin.Got))
	if differs && (d.got != "" || d.reset) {
		wantGot = d.got
	}
	if wantGot != "" || c.Stream.Origin.EOF {
		<-o.over
	}
	if got, eof := o.result(); got != wantGot || c.Stream.Origin.EOF && eof == d.reset {
		t.Errorf("origin got %d bytes %.20q, eof %v, want %d bytes %.20q", len(got), got, eof, len(wantGot), wantGot)
	}
}

// zeroPort blanks the port in a SOCKS reply, as the recorder did.
func zeroPort(data []byte) []byte {
	const method, reply = 2, 10
	if len(data) >= method+reply {
		data[method+reply-2], data[method+reply-1] = 0, 0
	}
	return data
}
