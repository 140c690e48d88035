package flow_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/link/linktest"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/wire/proxyproto"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/pkg/wire/websocket"
)

// frame is a client's frame.
func frame(op websocket.Opcode, payload []byte) []byte {
	return websocket.AppendMasked(nil, op, [4]byte{0xde, 0xad, 0xbe, 0xef}, payload)
}

func closing(code websocket.Code) []byte {
	return frame(websocket.Close, websocket.AppendClose(nil, code, ""))
}

// expectHex reads so many bytes.
func (v *visit) expectHex(want string) {
	v.t.Helper()
	want = strings.ReplaceAll(want, " ", "")
	b := make([]byte, len(want)/2)
	if n, err := io.ReadFull(v.rest, b); err != nil || hex.EncodeToString(b) != want {
		v.t.Errorf("received %x, %v, want %s", b[:n], err, want)
	}
}

// messages reads frames to the end and gives the payload of the data frames and the close frame.
func (v *visit) messages() (data []byte, end string) {
	v.t.Helper()
	b, err := io.ReadAll(v.rest)
	if err != nil {
		v.t.Errorf("messages: %v", err)
	}
	return payloads(v.t, b)
}

// echoOrigin is a TCP origin that sends back what it gets, and its end.
func echoOrigin(t *testing.T) string {
	t.Helper()
	return rawOrigin(t, "tcp", func(c net.Conn) { _, _ = io.Copy(c, c) })
}

func TestLargeMessagesThroughAService(t *testing.T) {
	addr := echoOrigin(t)
	message := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	eachCarrier(t, func(t *testing.T, carry func(link.Handler) link.Carrier) {
		v := visitFrom(t, carry(streamHandler(t, rules(t, "tcp://"+addr), streamLimits(), nil)), websocketRequest("/"))
		go func() {
			_, _ = v.Write(frame(websocket.Binary, message))
			_, _ = v.Write(frame(websocket.Text, []byte("and text")))
			_, _ = v.Write(closing(4000))
		}()
		data, end := v.messages()
		if !bytes.Equal(data, append(bytes.Clone(message), "and text"...)) {
			t.Errorf("received %d bytes", len(data))
		}
		if end != "88020fa0" {
			t.Errorf("close frame %s, want the client's code", end)
		}
		if err := v.carried(); err != nil { // the client sent no FIN; the proxy has what it needs
			t.Errorf("Carry: %v", err)
		}
	})
}

func TestControlFramesOfAService(t *testing.T) {
	addr := echoOrigin(t)
	limits := streamLimits()
	limits.PingInterval = 5 * time.Millisecond
	v := visitFrom(t, link.NewDirect(streamHandler(t, rules(t, "tcp://"+addr), limits, nil)), websocketRequest("/"))
	v.expectHex("8900 8900")
	v.send(frame(websocket.Ping, []byte("are you there")))
	pong := hex.EncodeToString(websocket.AppendControl(nil, websocket.Pong, []byte("are you there")))
	var got []byte
	one := make([]byte, 1)
	for !strings.Contains(hex.EncodeToString(got), pong) {
		if _, err := io.ReadFull(v.rest, one); err != nil {
			t.Fatalf("received %x, %v", got, err)
		}
		got = append(got, one...)
	}
	v.Reset()
	v.end("", linktest.ErrReset)
	if err := v.carried(); !errors.Is(err, link.ErrEdge) {
		t.Errorf("Carry: %v", err)
	}
}

func TestHelloWorldEcho(t *testing.T) {
	h := streamHandler(t, rules(t, "hello_world"), streamLimits(), nil)
	v := visitFrom(t, link.NewDirect(h), websocketRequest("/ws"))
	v.send(frame(websocket.Text, []byte("hi")))
	v.expectHex("81026869")
	v.send(frame(websocket.Ping, []byte("x")))
	v.expectHex("8a0178")
	v.send(closing(1000))
	v.end("\x88\x02\x03\xe8", nil)
	if err := v.carried(); err != nil {
		t.Errorf("Carry: %v", err)
	}
	page := visitFrom(t, link.NewDirect(h), websocketRequest("/_health"))
	if page.status() != "200" {
		t.Errorf("another path: %+v", page.resp)
	}
	page.end("ok\n", nil)
	bare := get("GET", "/ws")
	bare.Type = stream.WebSocket
	if v := visitFrom(t, link.NewDirect(h), bare); v.resp.Error != "websocket key missing" {
		t.Errorf("without a key: %+v", v.resp)
	}
	left := visitFrom(t, link.NewDirect(h), websocketRequest("/ws"))
	left.Leave()
	if err := left.carried(); !errors.Is(err, link.ErrEdge) {
		t.Errorf("visitor left: %v", err)
	}
}

func TestServiceThatCannotBeReached(t *testing.T) {
	for _, tc := range []struct {
		name     string
		service  string
		settings []string
		header   string
		status   string
		err      string
	}{
		{"refused", "ssh://127.0.0.1:1", nil, "", "502", "dial tcp: connect: connection refused"},
		{
			"bastion without a destination", "bastion", nil, "", "400",
			"Did not receive final destination from client. The --destination flag is likely not set on the client side",
		},
		{"bastion without a port", "bastion", nil, "localhost", "502", "dial tcp: connect failed"},
		{"bastion denied", "bastion", []string{"ipRules: [{prefix: 10.0.0.0/8, allow: true}]"}, "127.0.0.1:1", "403", ""},
		{
			"bastion denied by name", "bastion",
			[]string{"ipRules: [{prefix: 127.0.0.0/8, allow: false}, {prefix: '::/0', allow: false}, {prefix: 0.0.0.0/0, allow: true}]"},
			"localhost:1", "403", "",
		},
		{
			"bastion allowed", "bastion",
			[]string{"ipRules: [{prefix: 127.0.0.0/8, ports: [1], allow: true}]"},
			"127.0.0.1:1", "502",
			"dial tcp: connect: connection refused",
		},
		{
			"bastion with rules and no port", "bastion",
			[]string{"ipRules: [{prefix: 127.0.0.0/8, allow: true}]"},
			"127.0.0.1", "502",
			"dial tcp: connect failed",
		},
		{
			"bastion with rules and a bad port", "bastion",
			[]string{"ipRules: [{prefix: 127.0.0.0/8, allow: true}]"},
			"127.0.0.1:http", "502",
			"dial tcp: connect failed",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := websocketRequest("/")
			if tc.header != "" {
				req.Metadata = append(req.Metadata, stream.Pair{Key: stream.HeaderPrefix + "Cf-Access-Jump-Destination", Val: tc.header})
			}
			a := do(t, streamHandler(t, rules(t, tc.service, tc.settings...), streamLimits(), nil), req, "")
			if a.status != tc.status || a.err != tc.err || a.end != nil {
				t.Errorf("response %+v, want %s, %q", a, tc.status, tc.err)
			}
		})
	}
}

func TestPrivateNetworkRules(t *testing.T) {
	addr := echoOrigin(t)
	set := compile(t, "warp-routing: {ipRules: [{prefix: 10.0.0.0/8, allow: true}]}\ningress: [{service: 'http_status:404'}]\n")
	a := do(t, streamHandler(t, set, streamLimits(), nil), stream.Request{Dest: addr, Type: stream.TCP}, "")
	if want := "unable to dial tcp to origin " + addr + ": destination denied by ip rules"; a.err != want || a.status != "" ||
		len(a.pairs) != 0 {
		t.Errorf("response %+v, want %q", a, want)
	}
}

func TestSocksProxy(t *testing.T) {
	addr := netip.MustParseAddrPort(echoOrigin(t))
	port := hex.EncodeToString([]byte{byte(addr.Port() >> 8), byte(addr.Port())})
	allow := "ipRules: [{prefix: 127.0.0.0/8, allow: true}, {prefix: '::1/128', allow: true}]"
	const greeting, method, ipv4 = "050100", "82020500", "05010001 7f000001"
	for _, tc := range []struct {
		name     string
		settings []string
		send     string // after the greeting
		reply    string // of the request, the bytes before the address
		echo     bool
	}{
		{"address", []string{allow}, ipv4 + port, "050000", true},
		{"name", []string{allow}, "05010003 09" + hex.EncodeToString([]byte("localhost")) + port, "050000", true},
		{"refused", []string{allow}, ipv4 + "0001", "050500", false},
		{"not in the rules", []string{"ipRules: [{prefix: 10.0.0.0/8, allow: true}]"}, ipv4 + port, "050200", false},
		{"no rules", nil, ipv4 + port, "050200", false},
		{"name that is none", []string{allow}, "05010003 0c" + hex.EncodeToString([]byte("none.invalid")) + port, "050200", false},
		{"bind", []string{allow}, "05020001 7f000001" + port, "050700", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := visitFrom(t, link.NewDirect(streamHandler(t, rules(t, "socks-proxy", tc.settings...), streamLimits(), nil)), websocketRequest("/"))
			v.send(frame(websocket.Binary, unhex(t, greeting)))
			v.expectHex(method)
			v.send(frame(websocket.Binary, unhex(t, tc.send)))
			v.expectHex("82")
			size := make([]byte, 1)
			if _, err := io.ReadFull(v.rest, size); err != nil {
				t.Fatal(err)
			}
			reply := make([]byte, size[0])
			if _, err := io.ReadFull(v.rest, reply); err != nil || hex.EncodeToString(reply[:3]) != tc.reply {
				t.Fatalf("reply %x, %v, want %s", reply, err, tc.reply)
			}
			if tc.echo {
				v.send(frame(websocket.Binary, []byte("hello")))
				v.expectHex("8205" + hex.EncodeToString([]byte("hello")))
				v.send(closing(1000))
			}
			v.end("\x88\x02\x03\xe8", nil)
			if err := v.carried(); err != nil {
				t.Errorf("Carry: %v", err)
			}
		})
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSocksClientThatSaysNothing(t *testing.T) {
	limits := streamLimits()
	limits.SocksTimeout = 10 * time.Millisecond
	v := visitFrom(t, link.NewDirect(streamHandler(t, rules(t, "socks-proxy"), limits, nil)), websocketRequest("/"))
	v.end("", linktest.ErrReset)
	if err := v.carried(); !errors.Is(err, link.ErrReset) {
		t.Errorf("Carry: %v", err)
	}
}

func TestProxyProtocolHeader(t *testing.T) {
	heads := make(chan proxyproto.Header, 4)
	addr := rawOrigin(t, "tcp", func(c net.Conn) {
		b, _ := io.ReadAll(c)
		h, n, err := proxyproto.Parse(b)
		if err != nil || string(b[n:]) != "data" {
			t.Errorf("origin got %q: %v", b, err)
		}
		heads <- h
	})
	dst := netip.MustParseAddrPort(addr)
	private := compile(t, "warp-routing: {proxyProtocol: v2}\ningress: [{service: 'tcp://"+addr+"', originRequest: {proxyProtocol: v1}}]\n")
	c := link.NewDirect(streamHandler(t, private, streamLimits(), nil))
	client := stream.Pair{Key: stream.KeyClient, Val: "203.0.113.9:4711"}
	websocketFrom := func(p ...stream.Pair) stream.Request {
		r := websocketRequest("/")
		r.Metadata = append(r.Metadata, p...)
		return r
	}
	for _, tc := range []struct {
		name   string
		req    stream.Request
		client netip.AddrPort
	}{
		{"private", stream.Request{Dest: addr, Type: stream.TCP, Metadata: []stream.Pair{client}}, netip.MustParseAddrPort("203.0.113.9:4711")},
		{"private, unknown", stream.Request{Dest: addr, Type: stream.TCP}, netip.AddrPort{}},
		{"service", websocketFrom(client), netip.MustParseAddrPort("203.0.113.9:4711")},
		{
			"service, by header", websocketFrom(stream.Pair{Key: stream.HeaderPrefix + "Cf-Connecting-Ip", Val: "203.0.113.7"}),
			netip.MustParseAddrPort("203.0.113.7:0"),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := visitFrom(t, c, tc.req)
			data := []byte("data")
			if tc.req.Type == stream.WebSocket {
				data = append(frame(websocket.Binary, data), closing(1000)...)
			}
			v.send(data)
			v.CloseWrite()
			_, _ = io.ReadAll(v.rest)
			want := proxyproto.Header{Source: tc.client, Destination: dst}
			if !tc.client.IsValid() {
				want = proxyproto.Header{}
			}
			if got := testkit.Receive(t, "header at the origin", heads); got != want {
				t.Errorf("header %+v, want %+v", got, want)
			}
		})
	}
}
