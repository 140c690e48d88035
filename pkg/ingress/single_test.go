package ingress_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

type singleCase struct {
	Args      []string       `json:"args"`
	Service   string         `json:"service"`
	Kind      string         `json:"service_kind"`
	Effective map[string]any `json:"effective"`
	ErrorText string         `json:"error_text"`
}

func TestSingleOriginVectors(t *testing.T) {
	// docs/spec/ingress.md D29: a flag with the value false counts as not given.
	notGiven := map[string]bool{"--hello-world=false": true, "--bastion=false": true}
	for _, c := range load[struct{ Cases []singleCase }](t, "single_origin_flags").Cases {
		name := strings.Join(c.Args, " ")
		t.Run(name, func(t *testing.T) {
			if notGiven[name] {
				c = singleCase{Args: c.Args, ErrorText: ingress.ErrNoRules.Error()}
			}
			set, err := ingress.SingleOrigin(flagsOf(t, c.Args))
			if c.ErrorText != "" {
				if err == nil || err.Error() != c.ErrorText {
					t.Fatalf("error %v, want %q", err, c.ErrorText)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			same(t, "service", set.Rules[0].Service.Text(), c.Service)
			same(t, "kind", kindText(set.Rules[0].Service), c.Kind)
			same(t, "effective", at(endpoint(t, set, 0), "config", "ingress", 0, "originRequest"), any(c.Effective))
		})
	}
}

// flagsOf reads a recorded command line.
func flagsOf(t *testing.T, args []string) ingress.SingleFlags {
	t.Helper()
	var f ingress.SingleFlags
	o := &f.Origin
	switches := map[string]**bool{
		"hello-world": &f.HelloWorld, "bastion": &f.Bastion, "socks5": &f.Socks5,
		"proxy-no-happy-eyeballs": &o.NoHappyEyeballs, "no-tls-verify": &o.NoTLSVerify,
		"no-chunked-encoding": &o.DisableChunkedEncoding, "http2-origin": &o.HTTP2Origin,
	}
	texts := map[string]**string{
		"url": &f.URL, "unix-socket": &f.UnixSocket, "http-host-header": &o.HTTPHostHeader,
		"origin-server-name": &o.OriginServerName, "origin-ca-pool": &o.CAPool, "proxy-address": &o.ProxyAddress,
	}
	durations := map[string]**time.Duration{
		"proxy-connect-timeout": &o.ConnectTimeout, "proxy-tls-timeout": &o.TLSTimeout,
		"proxy-tcp-keepalive": &o.TCPKeepAlive, "proxy-keepalive-timeout": &o.KeepAliveTimeout,
	}
	for i := 0; i < len(args); i++ {
		name, value, given := strings.Cut(strings.TrimPrefix(args[i], "--"), "=")
		if dst, ok := switches[name]; ok {
			b := !given || value == "true"
			*dst = &b
			continue
		}
		i++
		value = args[i]
		switch {
		case texts[name] != nil:
			*texts[name] = &value
		case durations[name] != nil:
			d, err := time.ParseDuration(value)
			if err != nil {
				t.Fatal(err)
			}
			*durations[name] = &d
		default:
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			port := uint(n)
			if name == "proxy-port" {
				o.ProxyPort = &port
			} else {
				o.KeepAliveConnections = &n
			}
		}
	}
	return f
}

func TestSingleOriginURL(t *testing.T) {
	for text, want := range map[string]string{
		"::1":                     "http://[::1]",
		"http://::1":              "!URL http://::1 has invalid format",
		"https://[::1]:8443/x":    "https://[::1]:8443",
		"bücher.example:80":       "http://xn--bcher-kva.example:80",
		"rdp://host":              "rdp://host:3389",
		"unix:/run/x.sock":        "unix:/run/x.sock",
		"unix+tls:/run/x.sock":    "unix+tls:/run/x.sock",
		"http://":                 "!URL http:// has invalid format",
		"http://:80":              "!URL http://:80 has invalid format",
		"localhost:port":          "!URL localhost:port has invalid format",
		"h2c://localhost":         "!Currently Cloudflare Tunnel does not support h2c protocol.",
		strings.Repeat("ü", 2000): "!URL " + strings.Repeat("ü", 2000) + " has invalid format",
	} {
		set, err := ingress.SingleOrigin(ingress.SingleFlags{URL: &text})
		if msg, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || err.Error() != "Error validating origin URL: "+msg {
				t.Errorf("%q: %v, want %q", text, err, msg)
			}
			continue
		}
		if err != nil || set.Rules[0].Service.Text() != want {
			t.Errorf("%q: %v, %v, want %q", text, set, err, want)
		}
	}
}

func TestSingleOriginUnixSocketAlone(t *testing.T) {
	path := "/run/x.sock"
	_, err := ingress.SingleOrigin(ingress.SingleFlags{UnixSocket: &path, HasArgument: true})
	if err == nil || err.Error() != "--unix-socket must be used exclusively." {
		t.Errorf("error %v", err)
	}
	if _, err := ingress.SingleOrigin(ingress.SingleFlags{}); !errors.Is(err, ingress.ErrNoRules) {
		t.Errorf("error %v", err)
	}
}
