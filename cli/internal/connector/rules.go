package connector

import (
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Rules compiles the file's ingress rules, or the single origin that the flags name. Without either every response
// is a 503, and the second result is ingress.ErrNoRules as a warning.
func Rules(s *settings.Settings, file *cfdfile.File, hasArgument bool) (set *ingress.Set, warning error, err error) {
	if file != nil {
		if set, err = FileRules(file); !errors.Is(err, ingress.ErrNoIngress) {
			return set, nil, err
		}
	}
	set, err = ingress.SingleOrigin(singleFlags(s, hasArgument))
	if errors.Is(err, ingress.ErrNoRules) {
		return ingress.Default503(), err, nil
	}
	return set, nil, err
}

// WatchRules passes the document of a tunnel on to use whenever it changes in the configuration file. It does nothing without a file, or
// with one that is no regular file.
func WatchRules(files *filewatch.Watcher, file *cfdfile.File, id tunnel.ID, use func(*cfdfile.File) error) error {
	if file == nil {
		return nil
	}
	path := file.Path
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil
	}
	last := file.For(id.String()).Document
	_, err := files.Add(filewatch.Set{
		Name: "configuration file", Paths: []string{path}, MaxBytes: cfdfile.MaxSize, Settle: true,
		Apply: func(contents [][]byte) error {
			file, err := cfdfile.Parse(path, contents[0])
			if err != nil {
				return err
			}
			if file.OthersFault != nil {
				return file.OthersFault // at the start it is only a warning, but now the former rules are there
			}
			now := file.For(id.String())
			if reflect.DeepEqual(now.Document, last) {
				return nil
			}
			if err := use(now); err != nil {
				return err
			}
			last = now.Document
			return nil
		},
	})
	return err
}

func singleFlags(s *settings.Settings, hasArgument bool) ingress.SingleFlags {
	f := ingress.SingleFlags{
		HelloWorld:  given(s, "hello-world", s.Bool),
		Bastion:     given(s, "bastion", s.Bool),
		URL:         given(s, "url", s.Text),
		UnixSocket:  given(s, "unix-socket", s.Text),
		Socks5:      given(s, "socks5", s.Bool),
		HasArgument: hasArgument,
	}
	f.Origin = ingress.OriginSpec{
		ConnectTimeout:         given(s, "proxy-connect-timeout", s.Duration),
		TLSTimeout:             given(s, "proxy-tls-timeout", s.Duration),
		TCPKeepAlive:           given(s, "proxy-tcp-keepalive", s.Duration),
		NoHappyEyeballs:        given(s, "proxy-no-happy-eyeballs", s.Bool),
		KeepAliveConnections:   given(s, "proxy-keepalive-connections", s.Int),
		KeepAliveTimeout:       given(s, "proxy-keepalive-timeout", s.Duration),
		HTTPHostHeader:         given(s, "http-host-header", s.Text),
		OriginServerName:       given(s, "origin-server-name", s.Text),
		CAPool:                 given(s, "origin-ca-pool", s.Text),
		NoTLSVerify:            given(s, "no-tls-verify", s.Bool),
		DisableChunkedEncoding: given(s, "no-chunked-encoding", s.Bool),
		HTTP2Origin:            given(s, "http2-origin", s.Bool),
		ProxyAddress:           given(s, "proxy-address", s.Text),
	}
	if port := given(s, "proxy-port", s.Uint); port != nil {
		p := uint(*port)
		f.Origin.ProxyPort = &p
	}
	return f
}

// given is the flag's value, or nil when it was not given.
func given[T any](s *settings.Settings, name string, get func(string) T) *T {
	if !s.IsSet(name) {
		return nil
	}
	v := get(name)
	return &v
}

// FileRules compiles the rules of a file that must have some; errors name the file and the rule.
func FileRules(file *cfdfile.File) (*ingress.Set, error) {
	set, err := ingress.Compile(file.Document)
	var fault *ingress.RuleError
	if errors.As(err, &fault) {
		return nil, fmt.Errorf("%s: %s: %w", file.Path, fault.Where(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Path, err)
	}
	return set, nil
}
