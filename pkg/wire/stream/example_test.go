package stream_test

import (
	"errors"
	"fmt"

	"github.com/culvert-tunnel/culvert/pkg/wire/stream"
)

// An edge opens a data stream with a request. The connector parses what has arrived so far, until the message is complete.
func ExampleParseRequest() {
	sent := stream.Request{Dest: "http://shop.example.com/cart", Type: stream.HTTP, Metadata: []stream.Pair{
		{Key: stream.KeyMethod, Val: "GET"}, {Key: stream.HeaderKey("Accept"), Val: "text/html"},
	}}
	wire, err := sent.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	wire = append(wire, "the body follows"...)

	var got stream.Request
	if _, err := stream.ParseRequest(wire[:20], &got); errors.Is(err, stream.ErrShort) {
		fmt.Println("20 bytes:", err)
	}
	n, err := stream.ParseRequest(wire, &got)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Dest)
	for _, pair := range got.Metadata {
		fmt.Println(pair.Key, "=", pair.Val)
	}
	fmt.Printf("%s\n", wire[n:])
	// Output:
	// 20 bytes: more bytes needed
	// http://shop.example.com/cart
	// HttpMethod = GET
	// HttpHeader:Accept = text/html
	// the body follows
}
