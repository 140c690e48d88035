package transporttest

import (
	"context"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/transport"
)

// Setup makes two joined sessions that live as long as the test: a has dialled, b was accepted.
type Setup func(t *testing.T) (a, b transport.Session)

// Limits say what a transport cannot do. The zero value can do everything.
type Limits struct {
	// OpenedByAccepter: only the accepting session opens streams.
	OpenedByAccepter bool
	// WholeReset: a reset of one direction resets the stream.
	WholeReset bool
	// SilentStop: the dialling session does not tell its peer that it reads no more of a stream, but drops what comes,
	// and ends the peer's direction together with its own.
	SilentStop bool
	// NoDatagrams: there are none.
	NoDatagrams bool
	// Greeting is what the ends of a stream say before its bytes are free; nil where they are from the start.
	Greeting *Greeting
}

// Greeting is the exchange that opens a stream.
type Greeting struct {
	// Ask is the opener's part, Answer the acceptor's, Listen the opener's again.
	Ask, Answer, Listen func(s transport.Stream) error
}

// pair is one way to look at two sessions.
type pair struct {
	Limits
	near, far transport.Session
	// nearAccepted says that near is the session that was accepted.
	nearAccepted bool
}

// opener and acceptor are who opens streams, and who gets them: near opens if it can.
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

// farStopsSilently says that SilentStop is true of far's session.
func (p *pair) farStopsSilently() bool { return p.SilentStop && p.nearAccepted }

// ask opens a stream, with the opener's part of the greeting.
func (p *pair) ask(ctx context.Context) (transport.Stream, error) {
	s, err := p.opener().OpenStream(ctx)
	if err == nil && p.Greeting != nil {
		if err = p.Greeting.Ask(s); err == nil {
			err = p.Greeting.Listen(s)
		}
	}
	return s, err
}

// open opens a stream with its first bytes, and gives both ends after those were read.
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
	greet(func(g *Greeting) error { return g.Ask(opened) })
	if p.Greeting == nil {
		write(t, opened, "open")
	}
	accepted, err := p.acceptor().AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	greet(func(g *Greeting) error { return g.Answer(accepted) })
	greet(func(g *Greeting) error { return g.Listen(opened) })
	if p.Greeting != nil {
		write(t, opened, "open")
	}
	read(t, accepted, "open")
	if p.nearOpens() {
		return opened, accepted
	}
	return accepted, opened
}
