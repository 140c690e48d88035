package localrules

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Origin names one origin for every request, for deployments without ingress rules (docs/spec/ingress.md 5).
type Origin struct {
	URL              string `yaml:"url" usage:"origin for all requests, such as http://localhost:8080"`
	UnixSocket       string `yaml:"unix_socket" usage:"path of a Unix socket that serves all requests"`
	HelloWorld       bool   `yaml:"hello_world" usage:"respond to all requests with the built-in demo page"`
	Bastion          bool   `yaml:"bastion" usage:"jump host: the visitor's client names the destination"`
	Socks5           bool   `yaml:"socks5" usage:"the visitor's client speaks SOCKS5 to a stream service"`
	ProxyProtocol    string `yaml:"proxy_protocol" usage:"header with the visitor's address at the start of a stream: v1 or v2"`
	HTTPHostHeader   string `yaml:"http_host_header" usage:"Host header towards the origin"`
	OriginServerName string `yaml:"origin_server_name" usage:"name expected in the origin's certificate"`
	CAPool           string `yaml:"ca_pool" usage:"PEM file with further roots for the origin's certificate"`
	NoTLSVerify      bool   `yaml:"no_tls_verify" usage:"accept any certificate of the origin"`
}

// Load compiles the rules of the configuration file configFile, if it is not empty, or of the single origin, or returns the
// rules that respond with 503 to everything.
func Load(configFile string, origin Origin, log *slog.Logger) (*ingress.Set, error) {
	flags := origin.singleFlags()
	if configFile != "" {
		file, err := cfdfile.Read(configFile)
		if err != nil {
			return nil, fmt.Errorf("config_file: %w", err)
		}
		for _, key := range file.UnusedKeys {
			log.Warn("unused key in config file", slog.String(logkey.File, configFile), slog.String(logkey.Key, key))
		}
		set, err := ingress.Compile(file.Document)
		if err == nil {
			for _, text := range set.Warnings() {
				log.Warn("ingress rules accepted with a warning", slog.String(logkey.Warning, text))
			}
			return set, nil
		}
		if !errors.Is(err, ingress.ErrNoIngress) {
			return nil, fmt.Errorf("config_file: %s: %w", configFile, err)
		}
		addFileFlags(&flags, file.Flags)
	}
	set, err := ingress.SingleOrigin(flags)
	if errors.Is(err, ingress.ErrNoRules) {
		log.Warn("no ingress rules", slog.Any(logkey.Err, err))
		return ingress.Default503(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	return set, nil
}

// addFileFlags takes a single origin from the file's top level, where it stands for the flag of the same name.
func addFileFlags(flags *ingress.SingleFlags, file map[string][]string) {
	first := func(name string) *string {
		if v := file[name]; len(v) > 0 {
			return &v[0]
		}
		return nil
	}
	if flags.URL == nil {
		flags.URL = first("url")
	}
	if flags.UnixSocket == nil {
		flags.UnixSocket = first("unix-socket")
	}
	for name, flag := range map[string]**bool{"hello-world": &flags.HelloWorld, "bastion": &flags.Bastion, "socks5": &flags.Socks5} {
		if v := first(name); v != nil && *v == "true" && *flag == nil {
			*flag = given(true)
		}
	}
}

// singleFlags translates the section into the flags of the same meaning; only what is set counts as given.
func (o Origin) singleFlags() ingress.SingleFlags {
	f := ingress.SingleFlags{
		URL:        given(o.URL),
		UnixSocket: given(o.UnixSocket),
		HelloWorld: given(o.HelloWorld),
		Bastion:    given(o.Bastion),
		Socks5:     given(o.Socks5),
	}
	f.Origin.ProxyProtocol = given(o.ProxyProtocol)
	f.Origin.HTTPHostHeader = given(o.HTTPHostHeader)
	f.Origin.OriginServerName = given(o.OriginServerName)
	f.Origin.CAPool = given(o.CAPool)
	f.Origin.NoTLSVerify = given(o.NoTLSVerify)
	return f
}

// given is nil for the zero value, which is "not set" in a service's own configuration.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
