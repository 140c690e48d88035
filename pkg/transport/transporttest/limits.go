package transporttest

import (
	"context"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

// Setup makes two joined sessions that last as long as the test: a has dialled, b was accepted.
type Setup func(t *testing.T) (a, b transport.Session)

// Limits says what a transport cannot do. The zero value means that it can do everything.
type Limits struct {
	// OpenedByAccepter: only the accepting session opens streams.
	OpenedByAccepter bool
	// WholeReset: a reset of one direction resets the stream.
	WholeReset bool
	// SilentStop: the peer of the dialling session does not learn that a stream is read no further. The dialling session
	// drops what arrives and ends the peer's direction together with its own.
	SilentStop bool
	// NoDatagrams: the transport has no datagrams.
	NoDatagrams bool
	// Greeting is the exchange that a stream must begin with; nil where its bytes are free from the start.
	Greeting *Greeting
}

// Greeting is the exchange that a stream begins with.
type Greeting struct {
	// The opener sends Request. Respond, at the acceptor, reads the request and sends the response. ReadResponse, at the
	// opener, reads the response.
	Request, Respond, ReadResponse func(s transport.Stream) error
}

// pair has two joined sessions in the roles near and far.
type pair struct {
	Limits
	near, far transport.Session
	// nearAccepted says that near is the session that was accepted.
	nearAccepted bool
}

// opener and acceptor give the sessions that open and accept streams: near opens if it can.
func (p *pair) opener() transport.Session {
	if p.nearOpens() {
		return p.near
	}
	return p.far
}

func (p *pair) acceptor() transport.Session {
	if p.nearOpens() {
		return p.far
	}
	return p.near
}

func (p *pair) nearOpens() bool { return p.nearAccepted || !p.OpenedByAccepter }

// farStopsSilently reports whether SilentStop applies to far.
func (p *pair) farStopsSilently() bool { return p.SilentStop && p.nearAccepted }

// request opens a stream, with the opener's part of the greeting.
func (p *pair) request(ctx context.Context) (transport.Stream, error) {
	s, err := p.opener().OpenStream(ctx)
	if err == nil && p.Greeting != nil {
		if err = p.Greeting.Request(s); err == nil {
			err = p.Greeting.ReadResponse(s)
		}
	}
	return s, err
}

// open opens a stream, sends its first bytes and reads them, and gives both ends.
func (p *pair) open(t *testing.T) (near, far transport.Stream) {
	t.Helper()
	opened, err := p.opener().OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	greet := func(step func(g *Greeting) error) {
		if p.Greeting == nil {
			return
		}
		if err := step(p.Greeting); err != nil {
			t.Fatal(err)
		}
	}
	greet(func(g *Greeting) error { return g.Request(opened) })
	if p.Greeting == nil {
		write(t, opened, "open")
	}
	accepted, err := p.acceptor().AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	greet(func(g *Greeting) error { return g.Respond(accepted) })
	greet(func(g *Greeting) error { return g.ReadResponse(opened) })
	if p.Greeting != nil {
		write(t, opened, "open")
	}
	read(t, accepted, "open")
	if p.nearOpens() {
		return opened, accepted
	}
	return accepted, opened
}
