//go:build system

package system_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/culvert-tunnel/culvert/tests/harness"
)

// largeMessage is the size of the largest message of the WebSocket cases.
const largeMessage = 16 << 20

// testWebSocket runs three clients against four origins.
func (d *deployment) testWebSocket(t *testing.T) {
	for host, addr := range d.origins.ws {
		_, path, _ := strings.Cut(addr, "/")
		t.Run("coder to "+host, func(t *testing.T) { d.testCoder(t, host, "/"+path) })
		t.Run("gorilla to "+host, func(t *testing.T) { d.testGorilla(t, host, "/"+path) })
		t.Run("python to "+host, func(t *testing.T) { d.testPython(t, host, "/"+path) })
	}
}

func (d *deployment) wsURL(path string) string {
	return "ws" + strings.TrimPrefix(d.edge.URL, "http") + path
}

func (d *deployment) testCoder(t *testing.T, host, path string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, d.wsURL(path), &websocket.DialOptions{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	large := make([]byte, largeMessage)
	_, _ = rand.Read(large) // never fails
	for _, m := range []struct {
		kind websocket.MessageType
		body []byte
	}{
		{websocket.MessageText, []byte("hello")},
		{websocket.MessageBinary, []byte{}},
		{websocket.MessageBinary, large},
		{websocket.MessageText, bytes.Repeat([]byte("x"), 70000)},
	} {
		sent := make(chan error, 1)
		go func() { sent <- c.Write(ctx, m.kind, m.body) }()
		kind, got, err := c.Read(ctx)
		if err != nil || kind != m.kind || !bytes.Equal(got, m.body) {
			t.Fatalf("echo of %d bytes: %v, %d bytes, %v", len(m.body), kind, len(got), err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	// A pong comes only while somebody reads.
	reading := make(chan error, 1)
	go func() {
		_, _, err := c.Read(ctx)
		reading <- err
	}()
	if err := c.Ping(ctx); err != nil {
		t.Errorf("ping: %v", err)
	}
	if err := c.Write(ctx, websocket.MessageText, []byte("close 4321")); err != nil {
		t.Fatal(err)
	}
	var ce websocket.CloseError
	if err := <-reading; !errors.As(err, &ce) || ce.Code != 4321 || ce.Reason != "as asked" {
		t.Errorf("close: %v, want code 4321", err)
	}
}

func (d *deployment) testGorilla(t *testing.T, host, path string) {
	c, resp, err := gorilla.DefaultDialer.DialContext(t.Context(), d.wsURL(path), http.Header{"Host": {host}})
	if err != nil {
		t.Fatalf("%v, %v", err, resp)
	}
	defer c.Close()
	pong := make(chan string, 1)
	c.SetPongHandler(func(text string) error {
		pong <- text
		return nil
	})
	if err := c.WriteControl(gorilla.PingMessage, []byte("are you there"), deadline()); err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), largeMessage/16)
	sent := make(chan error, 1)
	go func() { sent <- c.WriteMessage(gorilla.BinaryMessage, large) }()
	kind, got, err := c.ReadMessage()
	if err != nil || kind != gorilla.BinaryMessage || !bytes.Equal(got, large) {
		t.Fatalf("echo: kind %d, %d bytes, %v", kind, len(got), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	select {
	case text := <-pong:
		if text != "are you there" {
			t.Errorf("pong %q", text)
		}
	default:
		t.Error("the echo came, but no pong before it")
	}
	if err := c.WriteMessage(gorilla.TextMessage, []byte("close 4000")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadMessage(); !gorilla.IsCloseError(err, 4000) {
		t.Errorf("close: %v, want code 4000", err)
	}
}

const pythonVisitor = `
import asyncio, sys, websockets
async def main():
    url, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    async with websockets.connect("ws://" + host + url, host="127.0.0.1", port=port, max_size=None, ping_interval=None) as ws:
        await ws.send("hello")
        assert await ws.recv() == "hello"
        large = bytes(range(256)) * 65536
        await ws.send(large)
        assert await ws.recv() == large
        await asyncio.wait_for(await ws.ping(), 30)
        await ws.send("close 4099")
        try:
            await ws.recv()
            raise SystemExit("no close")
        except websockets.ConnectionClosed as e:
            code = e.rcvd.code if getattr(e, "rcvd", None) else e.code
            assert code == 4099, code
    print("good")
asyncio.run(main())
`

func (d *deployment) testPython(t *testing.T, host, path string) {
	port := d.edge.URL[strings.LastIndexByte(d.edge.URL, ':')+1:]
	out, err := exec.CommandContext(t.Context(), systemPython, "-c", pythonVisitor, path, host, port).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "good") {
		t.Errorf("%v\n%s", err, harness.Tail(string(out), 2000))
	}
}
