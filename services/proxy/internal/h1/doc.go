// Package h1 is the HTTP/1.1 client towards origins: an http.RoundTripper for plain connections (TCP and Unix sockets)
// that costs little more than its system calls.
//
// A request without a body starts no goroutine: the caller's goroutine writes the head, reads the response's head and, in
// Read, its body. A request with a body has one goroutine, which copies it. Buffers belong to running exchanges only;
// idle connections hold none.
//
// The package does what net/http does in the common case and hands the rest to a fallback, which is net/http: TLS,
// upgrades, Expect, CONNECT, proxies, requests that close their connection, requests that cannot be written safely, and
// bodies of unknown length on methods that usually have none. Response heads are accepted as net/http accepts them, with a
// few refusals more (see head.go); it adds no header to a request and never decodes a body. Of the hooks of net/http/httptrace
// only Got1xxResponse is called, on the caller's goroutine.
//
// Goroutines: a body's copier ends when its exchange does; nothing waits for a Read of the request's body which does not
// return although the body was closed, as that is for the body's owner to break. A timer looks after idle connections while
// there are any. Everything is safe for concurrent use, except that a response's body has one reader (Close may come from
// anywhere).
package h1
