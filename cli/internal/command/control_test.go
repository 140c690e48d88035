package command_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/command"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

// startWithInput is start with a standard input.
func startWithInput(t *testing.T, input io.Reader, env []string, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &program{cancel: cancel, done: make(chan struct{}), lines: make(chan string, 64)}
	r, w := io.Pipe()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	go func() {
		defer close(p.done)
		p.code = command.Run(ctx, process.Host{
			Args: args, Environ: append([]string{"HOME=" + t.TempDir()}, env...), Stdin: input, Stdout: w, Stderr: p,
		})
		_ = w.Close()
		<-read
		close(p.lines)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("log of %v:\n%s", args, p.log())
		}
	})
	return p
}

// readiness asks the metrics listener for the registered connections.
func readiness(t *testing.T, c *http.Client, metrics string) (status, connections int) {
	t.Helper()
	status, body := fetch(t, c, "http://"+metrics+"/ready", "")
	var ready struct{ ReadyConnections int }
	if err := json.Unmarshal([]byte(body), &ready); err != nil {
		return status, 0 // not listening yet
	}
	return status, ready.ReadyConnections
}

// TestReconnectOnStandardInput: one connection breaks, the connector is not ready meanwhile, and the connection comes back after the
// delay, over both transports.
func TestReconnectOnStandardInput(t *testing.T) {
	for _, protocol := range []string{"quic", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			e, metrics := startEdge(t), testkit.FreeTCP(t).String()
			input, commands := io.Pipe()
			defer input.Close()
			p := startWithInput(t, input, []string{"TUNNEL_TOKEN=" + e.token, "TUNNEL_METRICS=" + metrics},
				append(e.flags(), "--protocol", protocol, "--ha-connections", "1", "--stdin-control", "run", "--hello-world")...)
			c := client(t)
			say := func(line string) {
				t.Helper()
				if _, err := fmt.Fprintln(commands, line); err != nil {
					t.Fatal(err)
				}
			}
			broken := func() int { return len(p.linesWith("Restarting connection due to reconnect signal")) }
			ready := func() bool {
				status, n := readiness(t, c, metrics)
				return status == http.StatusOK && n == 1
			}
			// The first command comes before the first connection, and waits for it. Not to be ready means nothing then, and the first
			// lines of a log may come late.
			say("reconnect 1s")
			testkit.Eventually(t, "the first connection broke", func() bool { return broken() == 1 })
			testkit.Eventually(t, "ready again", ready)
			for range 2 {
				say("")
				say("help")
				say("reconnect soon")
				say("restart")
				say("reconnect 1s")
				testkit.Eventually(t, "not ready", func() bool {
					status, n := readiness(t, c, metrics)
					return status == http.StatusServiceUnavailable && n == 0
				})
				testkit.Eventually(t, "ready again", ready)
			}
			testkit.Eventually(t, "each command broke it", func() bool { return broken() == 3 })
			_ = commands.Close() // never fails; the end of the input does not end the connector
			for text, want := range map[string]int{
				"commands on standard input: help": 4, "is not a duration such as": 2, "Unknown command": 2, "Connection terminated": 0,
			} {
				if got := len(p.linesWith(text)); got != want {
					t.Errorf("%d lines with %q, want %d:\n%s", got, text, want, p.log())
				}
			}
			if code := p.stop(t); code != 0 {
				t.Errorf("exit %d", code)
			}
		})
	}
}
