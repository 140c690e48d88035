package rpc_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

const registrationID = 0xf71695ec7fe85497

// welcoming accepts everything.
func welcoming() edge {
	return edge{
		register: func(context.Context, rpc.RegisterRequest) (rpc.ConnectionDetails, error) {
			return rpc.ConnectionDetails{}, nil
		},
		unregister:   func(context.Context) error { return nil },
		updateConfig: func(context.Context, []byte) error { return nil },
	}
}

func bootstrap(t testing.TB, id uint32) []byte {
	return encode(t, func(m rpccp.Message) {
		b, err := m.NewBootstrap()
		must(t, err)
		b.SetQuestionId(id)
	})
}

func finish(t testing.TB, id uint32) []byte {
	return encode(t, func(m rpccp.Message) {
		f, err := m.NewFinish()
		must(t, err)
		f.SetQuestionId(id)
	})
}

// unregister is a call of unregisterConnection, modified by change.
func unregister(t testing.TB, id uint32, change func(rpccp.Call)) []byte {
	return encode(t, func(m rpccp.Message) {
		call, err := m.NewCall()
		must(t, err)
		call.SetQuestionId(id)
		call.SetInterfaceId(registrationID)
		call.SetMethodId(1)
		_, err = call.NewParams()
		must(t, err)
		target, err := call.NewTarget()
		must(t, err)
		target.SetImportedCap(0)
		change(call)
	})
}

func toAnswer(t testing.TB, id uint32, transform int32) func(rpccp.Call) {
	return func(call rpccp.Call) {
		target, err := call.Target()
		must(t, err)
		answer, err := target.NewPromisedAnswer()
		must(t, err)
		answer.SetQuestionId(id)
		_, err = answer.NewTransform(transform)
		must(t, err)
	}
}

// TestHostilePeer checks that messages outside the protocol end the stream with an error.
func TestHostilePeer(t *testing.T) {
	announce := func(segments, words uint32) []byte {
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, segments-1), words)
	}
	for name, in := range map[string][][]byte{
		"no protocol at all":        {[]byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")},
		"huge message":              {announce(1, 1<<29-1)},
		"message over the limit":    {announce(1, rpc.MaxMessage/8)},
		"many segments":             {announce(1<<31, 1)},
		"no words":                  {announce(1, 0)},
		"null root":                 {announce(1, 1), make([]byte, 8)},
		"root outside":              {announce(1, 1), {0, 1, 0, 0, 1, 0, 1, 0}},
		"cut message":               {bootstrap(t, 0)[:20]},
		"cut header":                {{0, 0, 0}},
		"packed":                    {{0x10, 5, 0x50, 1, 1, 8, 0, 0, 0x11, 1, 1, 0, 0}},
		"call without bootstrap":    {unregister(t, 0, func(rpccp.Call) {})},
		"call of its own result":    {bootstrap(t, 0), unregister(t, 1, toAnswer(t, 1, 0))},
		"call of another call":      {bootstrap(t, 0), unregister(t, 1, toAnswer(t, 0, 0)), unregister(t, 2, toAnswer(t, 1, 0))},
		"call of a field":           {bootstrap(t, 0), unregister(t, 1, toAnswer(t, 0, 1))},
		"call of a finished result": {bootstrap(t, 0), finish(t, 0), unregister(t, 1, toAnswer(t, 0, 0))},
		"call without target": {
			bootstrap(t, 0), unregister(t, 1, func(c rpccp.Call) { must(t, c.SetTarget(rpccp.MessageTarget{})) }),
			unregister(t, 1, toAnswer(t, 7, 0)),
		},
		"results to the callee": {bootstrap(t, 0), unregister(t, 1, func(c rpccp.Call) { c.SendResultsTo().SetYourself() })},
		"params with capabilities": {bootstrap(t, 0), unregister(t, 1, func(c rpccp.Call) {
			params, err := c.Params()
			must(t, err)
			caps, err := params.NewCapTable(1)
			must(t, err)
			caps.At(0).SetReceiverHosted(0)
		})},
		"call id in use":     {bootstrap(t, 0), bootstrap(t, 0)},
		"finish of nothing":  {finish(t, 5)},
		"finish twice":       {bootstrap(t, 0), finish(t, 0), finish(t, 0)},
		"release of nothing": {encode(t, func(m rpccp.Message) { _, err := m.NewRelease(); must(t, err) })},
		"return to nothing":  {encode(t, func(m rpccp.Message) { _, err := m.NewReturn(); must(t, err) })},
		"disembargo":         {bootstrap(t, 0), encode(t, func(m rpccp.Message) { _, err := m.NewDisembargo(); must(t, err) })},
		"third party":        {encode(t, func(m rpccp.Message) { _, err := m.NewProvide(); must(t, err) })},
		"null bootstrap":     {encode(t, func(m rpccp.Message) { must(t, m.SetBootstrap(rpccp.Bootstrap{})) })},
		"null call":          {encode(t, func(m rpccp.Message) { must(t, m.SetCall(rpccp.Call{})) })},
		"null return":        {encode(t, func(m rpccp.Message) { must(t, m.SetReturn(rpccp.Return{})) })},
		"null finish":        {bootstrap(t, 0), encode(t, func(m rpccp.Message) { must(t, m.SetFinish(rpccp.Finish{})) })},
		"null release":       {bootstrap(t, 0), encode(t, func(m rpccp.Message) { must(t, m.SetRelease(rpccp.Release{})) })},
		"many open calls":    manyBootstraps(t),
	} {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t)
			done := make(chan error, 1)
			go func() { done <- rpc.ServeRegistration(t.Context(), near, welcoming()) }()
			_, _ = far.Write(bytes.Join(in, nil)) // the server may hang up before it has read everything
			if strings.HasPrefix(name, "cut") {
				hangUp(far)
			}
			_, _ = io.Copy(io.Discard, far)
			if err := <-done; err == nil {
				t.Error("ServeRegistration: no error")
			}
		})
	}
}

// hangUp ends the writing side.
func hangUp(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // it may be closed already
	}
}

func manyBootstraps(t testing.TB) [][]byte {
	var in [][]byte
	for id := range uint32(1000) {
		in = append(in, bootstrap(t, id))
	}
	return in
}

// TestAbuseWithoutReading checks that a peer that finishes its calls but reads no returns is disconnected before it costs much memory.
func TestAbuseWithoutReading(t *testing.T) {
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- rpc.ServeRegistration(t.Context(), near, welcoming()) }()
	for id := uint32(0); ; id++ {
		if _, err := far.Write(append(bootstrap(t, id), finish(t, id)...)); err != nil {
			break
		}
		if id > 10_000 {
			t.Fatal("the server accepts any number of calls")
		}
	}
	must(t, far.Close())
	if err := <-done; err == nil || !strings.Contains(err.Error(), "unfinished") {
		t.Errorf("ServeRegistration: error %v, want too many unfinished calls", err)
	}
}

// TestAnnouncedSizeCostsNothing checks that memory grows with the bytes that arrive, not with the announced size.
func TestAnnouncedSizeCostsNothing(t *testing.T) {
	near, far := net.Pipe()
	done := make(chan error, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() { done <- rpc.ServeRegistration(t.Context(), near, welcoming()) }()
	head := binary.LittleEndian.AppendUint32(make([]byte, 4), rpc.MaxMessage/8-1)
	_, err := far.Write(append(head, make([]byte, 64)...))
	must(t, err)
	must(t, far.Close())
	if err := <-done; err == nil {
		t.Error("ServeRegistration: no error for a cut message")
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > rpc.MaxMessage/4 {
		t.Errorf("%d bytes allocated for a message of which 72 arrived", grown)
	}
}

// TestHostileEdge checks the same for the calling end.
func TestHostileEdge(t *testing.T) {
	reply := func(id uint32, build func(rpccp.Return)) []byte {
		return encode(t, func(m rpccp.Message) {
			ret, err := m.NewReturn()
			must(t, err)
			ret.SetAnswerId(id)
			build(ret)
		})
	}
	caps := func(id uint32, n int32, build func(rpccp.CapDescriptor)) []byte {
		return reply(id, func(ret rpccp.Return) {
			results, err := ret.NewResults()
			must(t, err)
			list, err := results.NewCapTable(n)
			must(t, err)
			for i := range int(n) {
				build(list.At(i))
			}
		})
	}
	null := func(id uint32) []byte {
		return reply(id, func(ret rpccp.Return) { _, err := ret.NewResults(); must(t, err) })
	}
	for name, in := range map[string][][]byte{
		"no protocol at all":     {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n and more text")},
		"return before the call": {null(7)},
		"null return":            {encode(t, func(m rpccp.Message) { must(t, m.SetReturn(rpccp.Return{})) })},
		"return twice":           {null(0), null(0)},
		"no capability":          {null(0)},
		"exception":              {reply(0, func(ret rpccp.Return) { _, err := ret.NewException(); must(t, err) })},
		"canceled":               {reply(0, func(ret rpccp.Return) { ret.SetCanceled() })},
		"results elsewhere":      {reply(0, func(ret rpccp.Return) { ret.SetResultsSentElsewhere() })},
		"many capabilities":      {caps(0, 9, func(d rpccp.CapDescriptor) { d.SetSenderHosted(0) })},
		"capability of ours":     {caps(0, 1, func(d rpccp.CapDescriptor) { d.SetReceiverHosted(0) })},
		"third party":            {caps(0, 1, func(d rpccp.CapDescriptor) { _, err := d.NewThirdPartyHosted(); must(t, err) })},
		"return without result":  {null(0), null(1)},
		"calls the connector":    {bootstrap(t, 0), unregister(t, 1, func(rpccp.Call) {})},
		"hangs up":               {},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t)
			client := rpc.NewRegistrationClient(near)
			p := newPeer(t, far)
			played := make(chan struct{})
			go func() {
				defer close(played)
				p.next() // bootstrap
				p.next() // call
				_, _ = far.Write(bytes.Join(in, nil))
				hangUp(far)
				_, _ = io.Copy(io.Discard, far)
			}()
			if _, err := client.Register(t.Context(), recordedRequest(t)); tunnel.ReasonOf(err) != tunnel.ReasonRPC {
				t.Errorf("Register: error %v, want ReasonRPC", err)
			}
			_ = client.Close() // the connection is broken already
			<-played
		})
	}
}
