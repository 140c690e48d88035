package linktest

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/link"
)

// patience bounds the waits of a test that would fail otherwise. No test passes because of it.
const patience = 20 * time.Second

// Setup makes a carrier to h that lives as long as the test. A Server behind it has SafeRepeats.
type Setup func(t *testing.T, h link.Handler) link.Carrier

// Run checks the contract.
func Run(t *testing.T, setup Setup) {
	tests := []struct {
		name string
		run  func(*testing.T, Setup)
	}{
		{"whole request in the first bytes", testWhole},
		{"metadata", testMeta},
		{"repeat", testRepeat},
		{"kinds of flows", testKinds},
		{"a flow of messages that waits", testMessages},
		{"fin comes late", testLateFIN},
		{"duplex", testDuplex},
		{"request half-closed first", testRequestHalfClose},
		{"response half-closed first", testResponseHalfClose},
		{"empty response", testEmptyResponse},
		{"buffered bytes travel in order", testBuffer},
		{"buffered bytes are not held back", testFlushDelay},
		{"an empty write waits for nobody", testEmptyWrite},
		{"large bodies both ways", testLarge},
		{"large first bytes", testLargeFirst},
		{"back-pressure", testBackPressure},
		{"early response to a large request", testEarlyResponse},
		{"visitor leaves", testVisitorLeaves},
		{"visitor leaves a handler that only writes", testVisitorLeavesWriter},
		{"visitor resets the request", testVisitorResets},
		{"context ends", testContextEnds},
		{"handler aborts", testAbort},
		{"handler aborts in the middle", testAbortInMiddle},
		{"handler returns without an end", testNoEnd},
		{"many at once", testMany},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, setup) })
	}
}

// flow starts a flow and gives its visitor and a channel with the result of Carry.
func flow(t *testing.T, c link.Carrier, first string, eof bool) (*Visitor, <-chan error) {
	t.Helper()
	return flowContext(t.Context(), c, first, eof)
}

func flowContext(ctx context.Context, c link.Carrier, first string, eof bool) (*Visitor, <-chan error) {
	v, e := NewVisitor()
	done := make(chan error, 1)
	go func() {
		err := c.Carry(ctx, link.Flow{Meta: meta(), Stream: e, First: []byte(first), EOF: eof})
		if errors.Is(err, link.ErrNotAccepted) { // a caller without a response of its own does this
			e.CancelRead(0)
			e.CancelWrite(0)
		}
		done <- err
	}()
	return v, done
}

func meta() link.Meta {
	m := link.Meta{Kind: link.KindStream, Index: 3}
	for i := range m.Tunnel {
		m.Tunnel[i], m.Connector[i] = byte(i), byte(i+100)
	}
	return m
}

// wait is the result of a flow.
func wait(t *testing.T, done <-chan error) error {
	t.Helper()
	return receive(t, done, "Carry has not returned")
}

func receive[T any](t *testing.T, ch <-chan T, failure string) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-ch:
		return v
	case <-timer.C:
		t.Fatal(failure)
		panic("not reached")
	}
}

// eventually polls cond.
func eventually(t *testing.T, cond func() bool, failure string) {
	t.Helper()
	timeout, tick := time.NewTimer(patience), time.NewTicker(time.Millisecond)
	defer timeout.Stop()
	defer tick.Stop()
	for !cond() {
		select {
		case <-timeout.C:
			t.Fatal(failure)
		case <-tick.C:
		}
	}
}

func wantResponse(t *testing.T, v *Visitor, want string) {
	t.Helper()
	got, err := io.ReadAll(v)
	if err != nil || string(got) != want {
		t.Errorf("response = %.100q, %v, want %.100q", got, err, want)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("Carry = %v, want %v", got, want)
	}
}
