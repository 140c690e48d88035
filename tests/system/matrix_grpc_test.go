//go:build system

package system_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/tests/harness"
)

// grpcCases are all cases of the interop client, but for those that need an account with a cloud provider
// (compute_engine_creds, service_account_creds, jwt_token_creds, per_rpc_creds, oauth2_auth_token,
// google_default_credentials, compute_engine_channel_credentials).
func grpcCases() []string {
	return []string{
		"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
		"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
		"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service", "pick_first_unary",
		"orca_per_rpc", "orca_oob",
	}
}

// withMessages are the cases whose responses have messages and therefore carry their status in trailers. Responses that
// carry it in the head pass even where trailers cannot.
func withMessages() []string {
	return []string{"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "custom_metadata"}
}

// testGRPC runs the interop suite through the edge: in cleartext to a cleartext origin, and over TLS to a TLS origin. A
// case that fails without a tunnel as well is left out and named.
func (d *deployment) testGRPC(t *testing.T) {
	plain, err := url.Parse(d.edge.URL)
	if err != nil {
		t.Fatal(err)
	}
	secure, err := url.Parse(d.tlsURL)
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string][]string{
		"cleartext": {"--server_host", "localhost", "--server_port", plain.Port()},
		"tls": {
			"--server_host",
			"localhost",
			"--server_port",
			secure.Port(),
			"--use_tls",
			"--use_test_ca",
			"--ca_file",
			d.caFile,
			"--server_host_override",
			"grpcs.test",
		},
	}
	for way, args := range ways {
		for _, name := range grpcCases() {
			t.Run(way+"/"+name, func(t *testing.T) {
				if text, broken := d.origins.grpcBroken[name]; broken {
					t.Skipf("the case fails without a tunnel as well: %s", text)
				}
				out, err := grpcCase(t.Context(), t, name, args...)
				switch {
				case d.trailers() && err != nil:
					t.Errorf("%v\n%s", err, out)
				case !d.trailers() && err == nil && slices.Contains(withMessages(), name):
					t.Errorf("%s passes through the stock connector on QUIC: the table of differences is out of date", name)
				}
			})
		}
	}
}

// grpcCase runs one case of the interop client and returns the end of its output.
func grpcCase(ctx context.Context, t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(ctx, harness.Binary(t, "grpc-interop-client"), append(args, "--test_case", name)...)
	cmd.Env = append(os.Environ(), "GRPC_GO_LOG_SEVERITY_LEVEL=error")
	out, err := cmd.CombinedOutput()
	return harness.Tail(string(out), 2000), err
}

// brokenCases runs every case against the origin directly and returns the output of those that fail.
func brokenCases(t *testing.T, port int) map[string]string {
	t.Helper()
	broken := map[string]string{}
	for _, name := range grpcCases() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // one of them waits for a timeout
		out, err := grpcCase(ctx, t, name, "--server_host", "localhost", "--server_port", strconv.Itoa(port))
		cancel()
		if err != nil {
			broken[name] = fmt.Sprintf("%v %s", err, strings.TrimSpace(out))
		}
	}
	if len(broken) > 3 {
		t.Fatalf("the interop suite does not work here, without any tunnel: %v", broken)
	}
	return broken
}
