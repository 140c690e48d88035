// Labelled is an origin for a container: it responds with its name, and to /stream with a line for each byte of the request.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	name, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s\n", name, r.URL.Path)
	})
	http.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		out := http.NewResponseController(w)
		if out.EnableFullDuplex() != nil || out.Flush() != nil {
			return
		}
		b := make([]byte, 1)
		for {
			if _, err := r.Body.Read(b); err != nil {
				return
			}
			_, _ = fmt.Fprintf(w, "%s %q\n", name, b)
			_ = out.Flush()
		}
	})
	l, err := net.Listen("tcp", ":80")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(l, nil))
}
