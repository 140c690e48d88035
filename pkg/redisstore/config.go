package redisstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
)

const (
	defaultTimeout = 2 * time.Second
	defaultPort    = "6379"
	// A control path needs few connections; their buffers are small for the same reason.
	poolSize    = 8
	idleConns   = 2
	idleTime    = time.Minute
	bufferBytes = 4 << 10
)

// Config says where the store is.
type Config struct {
	// URL is redis://[user[:password]@]host[:port][/db] or unix:///path[?db=n] for one server, redis+sentinel://[user[:password]@]host[:port],
	// .../name[/db] for the server that sentinels know by a name, or redis+cluster://[user[:password]@]host[:port],... for a cluster. With
	// rediss in the place of redis it is TLS.
	URL          string `yaml:"url" usage:"redis://host, redis+sentinel://host,host/name, redis+cluster://host,host or unix:///path; rediss for TLS"`
	PasswordFile string `yaml:"password_file" usage:"file with the store's password"`
	CAFile       string `yaml:"ca_file" usage:"PEM file with the roots for rediss:// (default: the system's)"`
	// CertFile and KeyFile are the certificate of this client, for a server that wants one.
	CertFile string `yaml:"cert_file" usage:"PEM file with the client certificate for rediss://"`
	KeyFile  string `yaml:"key_file" usage:"PEM file with the key of the client certificate"`
	// Timeout bounds every call.
	Timeout time.Duration `yaml:"timeout" usage:"bound of every call to the store"`
}

// Default is the configuration of a store that has no URL yet.
func Default() Config { return Config{Timeout: defaultTimeout} }

// Validate reports all problems of the configuration. No message contains a password.
func (c Config) Validate() error {
	var errs []error
	if _, err := parseURL(c.URL); err != nil {
		errs = append(errs, fmt.Errorf("url: %w", err))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		errs = append(errs, errors.New("cert_file and key_file: one needs the other"))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout: %v is not positive", c.Timeout))
	}
	return errors.Join(errs...)
}

// watchPassword gives the client a password that follows the file: each new connection uses the latest one.
func watchPassword(opts servers, path string, files *filewatch.Watcher) error {
	var password atomic.Pointer[string]
	_, err := files.Add(filewatch.Set{Name: "password_file", Paths: []string{path}, Apply: func(contents [][]byte) error {
		text := strings.TrimRight(string(contents[0]), "\r\n")
		password.Store(&text)
		return nil
	}})
	if err != nil {
		return err
	}
	user := opts.Username
	opts.CredentialsProvider = func() (string, string) { return user, *password.Load() }
	return nil
}

// watchCertificate is the certificate of this client, which follows its files.
func watchCertificate(certFile, keyFile string, files *filewatch.Watcher) (func() *tls.Certificate, error) {
	var current atomic.Pointer[tls.Certificate]
	_, err := files.Add(filewatch.Set{
		Name: "cert_file and key_file", Paths: []string{certFile, keyFile}, Apply: func(contents [][]byte) error {
			cert, err := tls.X509KeyPair(contents[0], contents[1])
			if err != nil {
				return fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
			}
			current.Store(&cert)
			return nil
		},
	})
	return current.Load, err
}

// dialWith makes connections that trust what roots gives at that time, and show what cert gives. Either may be nil.
func dialWith(
	conf *tls.Config, roots func() *x509.CertPool, cert func() *tls.Certificate, timeout time.Duration,
) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		current := conf.Clone()
		if roots != nil {
			current.RootCAs = roots()
		}
		if cert != nil {
			current.Certificates = []tls.Certificate{*cert()}
		}
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: timeout}, Config: current}
		return d.DialContext(ctx, network, addr)
	}
}

// options turns the configuration into the client's. It reads the files that the configuration names, and files, which may be
// nil, reads the password and the roots again when they
// change.
func (c Config) options(files *filewatch.Watcher) (servers, error) {
	if err := c.Validate(); err != nil {
		return servers{}, err
	}
	opts, err := parseURL(c.URL)
	if err != nil {
		return servers{}, err
	}
	if c.PasswordFile != "" {
		if err := watchPassword(opts, c.PasswordFile, files); err != nil {
			return servers{}, err
		}
	}
	if err := c.watchTLS(opts.Options, files); err != nil {
		return servers{}, err
	}
	tune(opts.Options, c.Timeout)
	return opts, nil
}

// watchTLS gives the client roots and a certificate that follow their files, where the configuration names some.
func (c Config) watchTLS(opts *redis.Options, files *filewatch.Watcher) (err error) {
	if c.CAFile == "" && c.CertFile == "" {
		return nil
	}
	if opts.TLSConfig == nil {
		return errors.New("ca_file, cert_file: only a URL with rediss uses them")
	}
	var roots func() *x509.CertPool
	var cert func() *tls.Certificate
	if c.CAFile != "" {
		if roots, err = files.Pool("ca_file", c.CAFile); err != nil {
			return err
		}
	}
	if c.CertFile != "" {
		if cert, err = watchCertificate(c.CertFile, c.KeyFile, files); err != nil {
			return err
		}
	}
	opts.Dialer = dialWith(opts.TLSConfig, roots, cert, c.Timeout)
	return nil
}

// tune sets the options that do not depend on the address of the store: every wait is bounded, the client never retries by
// itself (the caller must see that the reply to a grant was lost), and it uses only commands that all servers know, the embedded
// one included.
func tune(o *redis.Options, timeout time.Duration) {
	o.Protocol = 2
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
	o.ContextTimeoutEnabled = true
	o.PoolSize = poolSize
	o.MaxIdleConns = idleConns
	o.ConnMaxIdleTime = idleTime
	o.PipelinePoolSize = -1
	o.ReadBufferSize, o.WriteBufferSize = bufferBytes, bufferBytes
}

// parseURL reads the URL. Its errors never quote the URL, which may hold a password.
func parseURL(raw string) (servers, error) {
	if raw == "" {
		return servers{}, errors.New("empty")
	}
	switch scheme, _, _ := strings.Cut(raw, "://"); scheme {
	case sentinelScheme, sentinelSchemeTLS, clusterScheme, clusterSchemeTLS:
		return parseMany(scheme, raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return servers{}, errors.New("not a URL")
	}
	o := &redis.Options{}
	if u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	var db string
	switch u.Scheme {
	case "unix":
		if u.Path == "" {
			return servers{}, errors.New("a unix URL needs an absolute path")
		}
		o.Network, o.Addr = "unix", u.Path
		db = u.Query().Get("db")
	case "redis", "rediss":
		if u.Hostname() == "" {
			return servers{}, errors.New("no host")
		}
		port := u.Port()
		if port == "" {
			port = defaultPort
		}
		o.Network, o.Addr = "tcp", net.JoinHostPort(u.Hostname(), port)
		db = strings.Trim(u.Path, "/")
		if u.Scheme == "rediss" {
			o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
		}
	default:
		return servers{}, fmt.Errorf("scheme %q is none of redis, redis+sentinel, redis+cluster, the same with rediss, and unix", u.Scheme)
	}
	o.DB, err = parseDB(db)
	return servers{Options: o}, err
}

// parseDB reads the number of a database; none is 0.
func parseDB(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a database number", text)
	}
	return n, nil
}
