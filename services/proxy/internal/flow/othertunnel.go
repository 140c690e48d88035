package flow

import (
	"github.com/culvert-tunnel/culvert/pkg/link"
	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/router"
)

// RefuseTunnel ends a flow of a tunnel that the rules in force do not belong to.
func RefuseTunnel(m link.Meta, st link.Stream) {
	if m.Kind == link.KindDatagrams || m.Repeat { // the 503 below would say that no proxy has seen the request
		st.Abort()
		return
	}
	resp := stream.Response{
		Error:    router.ErrOtherTunnel.Error(),
		Metadata: []stream.Pair{{Key: stream.KeyStatus, Val: "503"}},
	}
	b, err := resp.Append(nil)
	if err == nil {
		_, err = st.Write(b)
	}
	if err != nil {
		st.Abort()
		return
	}
	_ = st.CloseWrite() // a failure means that the worker is gone
}
