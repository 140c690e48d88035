package redisstore

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// form is how the servers of a store work together.
type form uint8

const (
	single   form = iota // one server
	sentinel             // a server that sentinels know, and which they replace
	cluster              // the masters of a cluster, each with a part of the keys
)

const (
	sentinelScheme, sentinelSchemeTLS = "redis+sentinel", "rediss+sentinel"
	clusterScheme, clusterSchemeTLS   = "redis+cluster", "rediss+cluster"
	sentinelPort                      = "26379"
	// maxHosts bounds the addresses in a URL.
	maxHosts = 64
	// redirects is how often a call follows the nodes of a cluster to the one that has its keys.
	redirects = 3
)

// servers are the servers of a store, as its URL names them.
type servers struct {
	form form
	// addrs are the sentinels, or some nodes of the cluster; of a single server the address is in the options.
	addrs []string
	// master is the name that the sentinels know the server by.
	master string
	*redis.Options
}

// name is how errors name the servers: without a password.
func (s servers) name() string {
	if s.form == single {
		return s.Addr
	}
	return strings.Join(s.addrs, ",")
}

// parseMany reads the URL of several servers: scheme://[user[:password]@]host[:port],host[:port],...[/path].
func parseMany(scheme, raw string) (servers, error) {
	_, rest, _ := strings.Cut(raw, "://")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndex(rest[:end], "@") + 1
	u, err := url.Parse(scheme + "://" + rest[:at] + "host" + rest[end:])
	if err != nil {
		return servers{}, errors.New("not a URL")
	}
	s := servers{form: cluster, Options: &redis.Options{Network: "tcp"}}
	port, path := defaultPort, strings.Trim(u.Path, "/")
	if scheme == sentinelScheme || scheme == sentinelSchemeTLS {
		s.form, port = sentinel, sentinelPort
	}
	if s.addrs, err = parseHosts(rest[at:end], port); err != nil {
		return servers{}, err
	}
	if u.User != nil {
		s.Username = u.User.Username()
		s.Password, _ = u.User.Password()
	}
	if scheme == clusterSchemeTLS || scheme == sentinelSchemeTLS {
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12} // each server's certificate names its own host
	}
	if s.form == cluster {
		if path != "" && path != "0" {
			return servers{}, errors.New("a cluster has no numbered databases")
		}
		return s, nil
	}
	var db string
	if s.master, db, _ = strings.Cut(path, "/"); s.master == "" {
		return servers{}, errors.New("no name of the master that the sentinels watch: " + scheme + "://host/name")
	}
	s.DB, err = parseDB(db)
	return s, err
}

func parseHosts(list, port string) ([]string, error) {
	var out []string
	for host := range strings.SplitSeq(list, ",") {
		u, err := url.Parse("redis://" + host)
		if err != nil || u.Host != host || u.Hostname() == "" {
			return nil, errors.New("no host, or one that is none")
		}
		out = append(out, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)))
	}
	if len(out) > maxHosts {
		return nil, errors.New("more than " + strconv.Itoa(maxHosts) + " hosts")
	}
	return out, nil
}

// client makes the client of the servers.
func (s servers) client() redis.UniversalClient {
	o := s.Options
	switch s.form {
	case sentinel:
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: s.master, SentinelAddrs: s.addrs, Dialer: o.Dialer, Protocol: o.Protocol, Username: o.Username, Password: o.Password,
			CredentialsProvider: o.CredentialsProvider, DB: o.DB, MaxRetries: o.MaxRetries, DialTimeout: o.DialTimeout,
			DialerRetries: o.DialerRetries, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
			ContextTimeoutEnabled: o.ContextTimeoutEnabled, ReadBufferSize: o.ReadBufferSize, WriteBufferSize: o.WriteBufferSize,
			PipelinePoolSize: o.PipelinePoolSize, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout, MaxIdleConns: o.MaxIdleConns,
			ConnMaxIdleTime: o.ConnMaxIdleTime, TLSConfig: o.TLSConfig, DisableIdentity: o.DisableIdentity,
		})
	case cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: s.addrs, MaxRedirects: redirects, DisableRoutingPolicies: true, NewClient: onceClient,
			Dialer: o.Dialer, Protocol: o.Protocol, Username: o.Username, Password: o.Password, CredentialsProvider: o.CredentialsProvider,
			MaxRetries: o.MaxRetries, DialTimeout: o.DialTimeout, DialerRetries: o.DialerRetries, ReadTimeout: o.ReadTimeout,
			WriteTimeout: o.WriteTimeout, ContextTimeoutEnabled: o.ContextTimeoutEnabled, ReadBufferSize: o.ReadBufferSize,
			WriteBufferSize: o.WriteBufferSize, PipelinePoolSize: o.PipelinePoolSize, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout,
			MaxIdleConns: o.MaxIdleConns, ConnMaxIdleTime: o.ConnMaxIdleTime, TLSConfig: o.TLSConfig, DisableIdentity: o.DisableIdentity,
			MaintNotificationsConfig: o.MaintNotificationsConfig,
		})
	default:
		return redis.NewClient(o)
	}
}

// onceClient is the client of one node of a cluster. The cluster's client sends a call again whose connection broke, and so hides that a
// reply was lost; it does not know the errors of this one as such, and only follows redirections.
func onceClient(o *redis.Options) *redis.Client {
	c := redis.NewClient(o)
	c.AddHook(once{})
	return c
}

type once struct{}

// brokenError is an error of a connection to a node of a cluster. On purpose it does not unwrap.
type brokenError struct{ cause error }

// Error is the text of the cause.
func (e *brokenError) Error() string { return e.cause.Error() }

func (once) DialHook(next redis.DialHook) redis.DialHook { return next }

func (once) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (once) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		var said redis.Error
		if err == nil || errors.As(err, &said) {
			return err
		}
		return &brokenError{cause: err}
	}
}
