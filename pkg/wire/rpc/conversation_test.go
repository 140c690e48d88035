package rpc_test

import (
	"bytes"
	"testing"

	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"

	"github.com/culvert-tunnel/culvert/pkg/wire/rpc"
)

// say turns two bytes into one well-formed message, of which they select the kind and the id. Arbitrary bytes are rarely
// well formed.
func say(t testing.TB, what, id byte) []byte {
	n := uint32(id % 4)
	switch what % 12 {
	case 0:
		return bootstrap(t, n)
	case 1:
		return finish(t, n)
	case 2:
		return unregister(t, n, func(rpccp.Call) {})
	case 3:
		return unregister(t, n, toAnswer(t, uint32(id/4%4), 0))
	case 4:
		return unregister(t, n, func(c rpccp.Call) { c.SetMethodId(uint16(id / 4 % 5)) })
	case 5:
		return unregister(t, n, func(c rpccp.Call) { c.SetInterfaceId(uint64(id)) })
	case 6:
		return encode(t, func(m rpccp.Message) {
			r, err := m.NewRelease()
			must(t, err)
			r.SetId(n)
			r.SetReferenceCount(uint32(id / 4 % 4))
		})
	case 7:
		return encode(t, func(m rpccp.Message) {
			ret, err := m.NewReturn()
			must(t, err)
			ret.SetAnswerId(n)
			results, err := ret.NewResults()
			must(t, err)
			caps, err := results.NewCapTable(1)
			must(t, err)
			caps.At(0).SetSenderHosted(uint32(id / 4 % 4))
		})
	case 8:
		return encode(t, func(m rpccp.Message) {
			ret, err := m.NewReturn()
			must(t, err)
			ret.SetAnswerId(n)
			_, err = ret.NewException()
			must(t, err)
		})
	case 9:
		return encode(t, func(m rpccp.Message) {
			r, err := m.NewResolve()
			must(t, err)
			r.SetPromiseId(n)
		})
	case 10:
		return encode(t, func(m rpccp.Message) {
			u, err := m.NewUnimplemented()
			must(t, err)
			_, err = u.NewResolve()
			must(t, err)
		})
	default:
		return encode(t, func(m rpccp.Message) {
			a, err := m.NewAbort()
			must(t, err)
			must(t, a.SetReason("enough"))
		})
	}
}

// FuzzConversation sends well-formed messages in any order, as a caller and as an edge that is called.
func FuzzConversation(f *testing.F) {
	f.Add([]byte{0, 0, 2, 1, 1, 0, 3, 2, 6, 0, 11, 0})
	f.Add([]byte{0, 0, 0, 1, 3, 2, 1, 1, 6, 4, 6, 4, 2, 3})
	f.Add([]byte{7, 0, 8, 1, 7, 1})
	f.Add([]byte{7, 0, 7, 1, 9, 0, 0, 0, 2, 1})
	f.Fuzz(func(t *testing.T, talk []byte) {
		const most = 64
		var b bytes.Buffer
		for i := 0; i+1 < min(len(talk), most); i += 2 {
			b.Write(say(t, talk[i], talk[i+1]))
		}
		_ = rpc.ServeRegistration(t.Context(), script{bytes.NewReader(b.Bytes())}, welcoming()) // the test only checks that it returns
		client := rpc.NewRegistrationClient(newLateScript(b.Bytes()))
		_, _ = client.Register(t.Context(), recordedRequest(t))
		_ = client.Unregister(t.Context())
		_ = client.Close()
	})
}
