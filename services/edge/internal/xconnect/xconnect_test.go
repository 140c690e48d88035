package xconnect_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/culvert-tunnel/culvert/pkg/testkit"
	_ "github.com/culvert-tunnel/culvert/services/edge/internal/xconnect"
)

// announced is what a server says of extended CONNECT in its first settings.
func announced(t *testing.T, serve func(l net.Listener)) bool {
	t.Helper()
	l := testkit.ListenTCP(t)
	done := make(chan struct{})
	go func() { defer close(done); serve(l) }()
	defer func() { _ = l.Close(); <-done }()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
			v, _ := s.Value(http2.SettingEnableConnectProtocol)
			return v == 1
		}
	}
}

func TestWhoAnnouncesExtendedConnect(t *testing.T) {
	if strings.Contains(os.Getenv("GODEBUG"), "http2xconnect") {
		t.Skip("the environment decides already")
	}
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	if !announced(t, func(l net.Listener) {
		srv := &http.Server{Protocols: &p}
		defer func() { _ = srv.Close() }()
		_ = srv.Serve(l)
	}) {
		t.Error("net/http does not announce extended CONNECT")
	}
	if announced(t, func(l net.Listener) {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		//nolint:staticcheck // it is the one that connectors use
		new(http2.Server).ServeConn(c, &http2.ServeConnOpts{Context: context.Background()})
	}) {
		t.Error("golang.org/x/net/http2 announces extended CONNECT, which connectors of the reference do not")
	}
}
