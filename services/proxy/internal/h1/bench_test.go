package h1_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/services/proxy/internal/h1"
)

// benchOrigin is the environment variable that makes the test binary an origin: its CPU must not count as the client's.
const benchOrigin = "H1_BENCH_ORIGIN"

// serveBenchmark is the origin's process. It ends with its standard input.
func serveBenchmark() bool {
	if os.Getenv(benchOrigin) == "" {
		return false
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return true
	}
	fmt.Println(l.Addr())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveSizes(c)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}

// serveSizes responds to GET /large and to anything else, which may have a body of 200 bytes.
func serveSizes(c net.Conn) {
	response := func(n int) []byte {
		return []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: x\r\nContent-Type: text/html\r\n"+
			"Cache-Control: no-store\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n)))
	}
	small, large := response(200), response(64<<10)
	br := bufio.NewReader(c)
	for {
		out, body := small, 0
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				_ = c.Close()
				return
			}
			switch {
			case strings.HasPrefix(string(line), "GET /large"):
				out = large
			case strings.HasPrefix(string(line), "Content-Length"):
				body = 200
			}
			if len(line) == 2 {
				break
			}
		}
		_, _ = br.Discard(body)
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// benchServer starts the origin's process.
func benchServer(b *testing.B) string {
	b.Helper()
	cmd := exec.Command(os.Args[0]) // ends with its standard input
	cmd.Env = append(os.Environ(), benchOrigin+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

// BenchmarkRoundTrip compares with net/http. cpu-ns/op is what this process spent; the origin is another one.
func BenchmarkRoundTrip(b *testing.B) {
	addr := benchServer(b)
	ref := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}
	b.Cleanup(ref.CloseIdleConnections)
	lean := transport(b, func(c *h1.Config) { c.Fallback = ref })
	for _, load := range []struct {
		name, path string
		body       bool
	}{{"small", "/", false}, {"upload", "/", true}, {"large", "/large", false}} {
		for _, client := range []struct {
			name string
			rt   http.RoundTripper
		}{{"h1", lean}, {"nethttp", ref}} {
			for _, parallel := range []int{1, 16} {
				b.Run(fmt.Sprintf("%s/%s/%d", load.name, client.name, parallel), func(b *testing.B) {
					b.ReportAllocs()
					b.SetParallelism(parallel)
					before := cpuTime()
					b.RunParallel(func(pb *testing.PB) {
						r := request(b, b.Context(), http.MethodGet, addr, nil)
						r.URL.Path = load.path
						r.Header = http.Header{
							"User-Agent": {"curl/8"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "Cf-Ray": {"8f-LHR"},
							"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}, "Connection": {"keep-alive"},
						}
						buf := make([]byte, 32<<10)
						text := strings.Repeat("b", 200)
						for pb.Next() {
							if load.body {
								r.Method, r.ContentLength, r.Body = http.MethodPost, 200, io.NopCloser(strings.NewReader(text))
							}
							res, err := client.rt.RoundTrip(r)
							if err != nil {
								b.Error(err)
								return
							}
							for err == nil {
								_, err = res.Body.Read(buf)
							}
							_ = res.Body.Close()
						}
					})
					b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
				})
			}
		}
	}
}
