package mem_test

import (
	"context"
	"fmt"
	"io"

	"github.com/culvert-tunnel/culvert/pkg/transport"
	"github.com/culvert-tunnel/culvert/pkg/transport/mem"
)

// The edge opens a stream and the connector accepts it. Each direction ends on its own: FIN ends the request, and the response
// follows. Code that works with this pair works with QUIC and HTTP/2, too.
func ExamplePair() {
	ctx := context.Background()
	edge, connector := mem.Pair(ctx)
	defer edge.CloseWithError(transport.NoError, "done")
	done := make(chan struct{})
	go func() {
		defer close(done)
		stream, err := connector.AcceptStream(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		request, err := io.ReadAll(stream)
		fmt.Printf("request %q, %v\n", request, err)
		_, _ = stream.Write([]byte("pong")) // a failure shows at the other end
		_ = stream.CloseWrite()
	}()
	stream, err := edge.OpenStream(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _ = stream.Write([]byte("ping")) // a failure shows at the other end
	_ = stream.CloseWrite()
	response, err := io.ReadAll(stream)
	<-done
	fmt.Printf("response %q, %v\n", response, err)
	// Output:
	// request "ping", <nil>
	// response "pong", <nil>
}
