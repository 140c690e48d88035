package settings

// Table is every flag that the connector's command line accepts, in the order of the help text.
func Table() []Flag {
	var all []Flag
	for _, group := range [][]Flag{
		identityFlags(), edgeFlags(), policyFlags(), dockerFlags(), operationFlags(), originFlags(), ignoredFlags(),
	} {
		all = append(all, group...)
	}
	return all
}

// identityFlags say which tunnel runs, and with which credentials and configuration.
func identityFlags() []Flag {
	return []Flag{
		{Name: "config", NoFile: true, Usage: "YAML configuration `FILE`"},
		{Name: "token", Env: []string{"TUNNEL_TOKEN"}, Secret: true, Usage: "run token of the tunnel; better given in TUNNEL_TOKEN or a file, " +
			"as the command line is visible to every user on the host"},
		{Name: "token-file", Env: []string{"TUNNEL_TOKEN_FILE"}, Usage: "`FILE` with the run token"},
		{Name: "credentials-file", Aliases: []string{"cred-file"}, Env: []string{"TUNNEL_CRED_FILE"}, Usage: "credentials `FILE` of the tunnel"},
		{Name: "credentials-contents", Env: []string{"TUNNEL_CRED_CONTENTS"}, Secret: true, Usage: "contents of the credentials file"},
		{Name: "origincert", Env: []string{"TUNNEL_ORIGIN_CERT"}, Usage: "account certificate; its directory is searched for credentials files"},
		{Name: "redis", Env: []string{"CULVERT_REDIS_URL"}, Secret: true, NoFile: true, Usage: "URL of a Redis, so that other processes can " +
			"join; without it the store is inside the process"},
		{
			Name: "redis-password-file", Env: []string{"CULVERT_REDIS_PASSWORD_FILE"}, NoFile: true,
			Usage: "`FILE` with the password of --redis; it is read again when it changes",
		},
		{
			Name: "link-listen", Env: []string{"CULVERT_LINK_LISTEN"}, Kind: List, NoFile: true,
			Usage: "with --redis, `ENDPOINT` where workers in other processes reach this one's proxy: unix:/path or tcp:host:port, repeatable " +
				"(default: a Unix socket)",
		},
		{Name: "link-certs", Env: []string{"CULVERT_LINK_CERTS"}, NoFile: true, Usage: "`DIR` made by link-certs, for a --link-listen over TCP"},
	}
}

// edgeFlags say how the edge is found and reached.
func edgeFlags() []Flag {
	return []Flag{
		{Name: "edge", Env: []string{"TUNNEL_EDGE"}, Kind: List, Usage: "edge address `HOST:PORT`, repeatable, instead of discovery"},
		{Name: "region", Env: []string{"TUNNEL_REGION"}, Usage: "edge region to connect to"},
		{Name: "edge-ip-version", Env: []string{"TUNNEL_EDGE_IP_VERSION"}, Default: "auto", Usage: "IP version towards the edge: auto, 4 or 6"},
		{Name: "edge-bind-address", Env: []string{"TUNNEL_EDGE_BIND_ADDRESS"}, Usage: "local IP address of connections to the edge"},
		{Name: "cacert", Env: []string{"TUNNEL_CACERT"}, Usage: "PEM `FILE` with the roots for the edge's certificate"},
		{Name: "edge-dns-domain", Env: []string{"CULVERT_EDGE_DNS_DOMAIN"}, NoFile: true, Usage: "domain whose SRV records name the edge"},
		{
			Name: "edge-dns-resolver", Env: []string{"CULVERT_EDGE_DNS_RESOLVER"}, NoFile: true,
			Usage: "resolver `HOST:PORT` for the edge's records",
		},
		{
			Name: "edge-private-addresses", Env: []string{"CULVERT_EDGE_PRIVATE_ADDRESSES"}, NoFile: true, Default: "refuse",
			Usage: "refuse or allow private and reserved addresses for names of argotunnel.com",
		},
		{
			Name: "protocol", Aliases: []string{"p"}, Env: []string{"TUNNEL_TRANSPORT_PROTOCOL"}, Default: "auto",
			Usage: "transport towards the edge: quic, http2, or auto, which prefers quic and falls back to http2 where UDP is blocked",
		},
		{
			Name: "post-quantum", Aliases: []string{"pq"}, Env: []string{"TUNNEL_POST_QUANTUM"}, Kind: Bool,
			Usage: "refuse key exchanges that are not post-quantum",
		},
		{Name: "features", Aliases: []string{"F"}, Kind: List, Usage: "features to announce to the edge"},
		{Name: "ha-connections", Kind: Int, Default: "4", Usage: "number of connections to the edge"},
		{Name: "retries", Env: []string{"TUNNEL_RETRIES"}, Kind: Int, Default: "5", Usage: "doublings after which the longest wait between " +
			"two attempts stays as it is; attempts never end, and another protocol is tried whatever it says"},
		{Name: "max-edge-addr-retries", Kind: Int, Default: "8", Effect: Ignored, Usage: "another protocol is tried after 3 failed dials on 2 " +
			"addresses, so sooner than by the default of cloudflared"},
		{Name: "rpc-timeout", Kind: Duration, Default: "5s", Usage: "bound of calls to and from the edge"},
		{Name: "quic-disable-pmtu-discovery", Env: []string{"TUNNEL_DISABLE_QUIC_PMTU"}, Kind: Bool, Usage: "no path MTU discovery"},
		{
			Name: "quic-connection-level-flow-control-limit", Env: []string{"TUNNEL_QUIC_CONN_LEVEL_FLOW_CONTROL_LIMIT"}, Kind: Uint,
			Default: "31457280", Usage: "QUIC connection window in bytes",
		},
		{
			Name: "quic-stream-level-flow-control-limit", Env: []string{"TUNNEL_QUIC_STREAM_LEVEL_FLOW_CONTROL_LIMIT"}, Kind: Uint,
			Default: "6291456", Usage: "QUIC stream window in bytes",
		},
		{
			Name: "write-stream-timeout", Env: []string{"TUNNEL_STREAM_WRITE_TIMEOUT"}, Kind: Duration, Default: "0s",
			Usage: "limit of one write of a stream to an origin; 0 is none",
		},
		{Name: "max-active-flows", Env: []string{"TUNNEL_MAX_ACTIVE_FLOWS"}, Kind: Uint, NoFile: true, Usage: "limit of private network flows"},
		{
			Name: "dns-resolver-addrs", Env: []string{"TUNNEL_DNS_RESOLVER_ADDRS"}, Kind: List, NoFile: true,
			Usage: "resolver `IP:PORT` for the DNS service of private networks, repeatable, at most 10 (default: the host's own)",
		},
		{Name: "icmpv4-src", Env: []string{"TUNNEL_ICMPV4_SRC"}, NoFile: true, Usage: "IPv4 `ADDRESS` of this host in responses to traceroute " +
			"(default: the one of the default route)"},
		{Name: "icmpv6-src", Env: []string{"TUNNEL_ICMPV6_SRC"}, NoFile: true, Usage: "IPv6 `ADDRESS` of this host in responses to traceroute " +
			"(default: one of the same interface)"},
	}
}

// policyFlags limit what any configuration can make this connector reach.
func policyFlags() []Flag {
	return []Flag{
		{
			Name: "policy-allow-networks", Env: []string{"CULVERT_POLICY_ALLOW_NETWORKS"}, Kind: List,
			Usage: "`CIDR` that may be reached, whatever rules say, repeatable; none is none (default: all)",
		},
		{
			Name: "policy-deny-networks", Env: []string{"CULVERT_POLICY_DENY_NETWORKS"}, Kind: List,
			Usage: "`CIDR` that is never reached, whatever rules say, repeatable",
		},
		{
			Name: "policy-allow-hosts", Env: []string{"CULVERT_POLICY_ALLOW_HOSTS"}, Kind: List,
			Usage: "`NAME` of a host that may be dialled, *.NAME for all below, repeatable; none is none (default: all)",
		},
		{
			Name: "policy-deny-hosts", Env: []string{"CULVERT_POLICY_DENY_HOSTS"}, Kind: List,
			Usage: "`NAME` of a host that is never dialled, *.NAME for all below, repeatable",
		},
		{
			Name: "policy-allow-unix", Env: []string{"CULVERT_POLICY_ALLOW_UNIX"}, Kind: List,
			Usage: "`PATH` of a Unix socket, or directory with / at the end, that may be reached, repeatable; none is none (default: all)",
		},
		{Name: "state-dir", Env: []string{"CULVERT_STATE_DIR"}, Usage: "`DIR` of this connector alone, in which a pushed configuration that " +
			"ends the process is remembered (default: none), and a copy of the edge's addresses for a start without DNS (default: " +
			"culvert in the user's directory for state)"},
		{
			Name: "config-key-file", Env: []string{"CULVERT_CONFIG_KEY_FILE"},
			Usage: "with --redis, `FILE` with a secret of 32 bytes or more, the same " +
				"for all, that seals the configurations of culvert config in it (default: none are followed)",
		},
		{
			Name: "policy-allow-files", Env: []string{"CULVERT_POLICY_ALLOW_FILES"}, Kind: List,
			Usage: "`PATH` of a file, or directory with / at the end, that rules may name, repeatable; none is none (default: all)",
		},
	}
}

// dockerFlags let the labels of containers make rules.
func dockerFlags() []Flag {
	return []Flag{
		{
			Name: "docker-endpoint", Env: []string{"CULVERT_DOCKER_ENDPOINT"},
			Usage: "`URL` of the Docker Engine whose containers' labels make rules, such as unix:///var/run/docker.sock (default: none)",
		},
		{
			Name: "docker-network", Env: []string{"CULVERT_DOCKER_NETWORK"},
			Usage: "`NAME` of the network in which containers are reached (default: the only one, or one that this process shares with them)",
		},
		{
			Name: "docker-hostnames", Env: []string{"CULVERT_DOCKER_HOSTNAMES"}, Kind: List,
			Usage: "`NAME` that containers may have as a hostname, *.NAME for all below, repeatable (default: all)",
		},
		{
			Name: "docker-published", Env: []string{"CULVERT_DOCKER_PUBLISHED"}, Kind: Bool,
			Usage: "reach containers at their published ports instead of their own addresses",
		},
		{
			Name: "docker-host-address", Env: []string{"CULVERT_DOCKER_HOST_ADDRESS"}, Default: "127.0.0.1",
			Usage: "`ADDRESS` of the engine's host, for published ports and containers in its network",
		},
		{
			Name: "docker-tls-dir", Env: []string{"CULVERT_DOCKER_TLS_DIR"},
			Usage: "`DIR` with ca.pem, cert.pem and key.pem, for an engine that is reached over TLS",
		},
	}
}

// operationFlags say how the process behaves on its host.
func operationFlags() []Flag {
	return []Flag{
		{
			Name: "grace-period", Env: []string{"TUNNEL_GRACE_PERIOD"}, Kind: Duration, Default: "30s",
			Usage: "time for running requests to finish at the end, at most 3m",
		},
		{Name: "metrics", Env: []string{"TUNNEL_METRICS"}, Usage: "`ADDRESS` of the listener for metrics and readiness (default: the first " +
			"free port of 127.0.0.1:20241 to 20245, of 0.0.0.0 with CULVERT_CONTAINER)"},
		{Name: "pidfile", Env: []string{"TUNNEL_PIDFILE"}, Usage: "`FILE` that gets the process id once the first connection is registered"},
		{Name: "label", Usage: "name of this connector for management"},
		{Name: "tag", Env: []string{"TUNNEL_TAG"}, Kind: List, Usage: "`KEY=VALUE` that is sent to origins as the header Cf-Warp-Tag-KEY"},
		{Name: "loglevel", Env: []string{"TUNNEL_LOGLEVEL"}, Default: "info", Usage: "least level that is logged: debug, info, warn, error or " +
			"fatal"},
		{
			Name: "transport-loglevel", Aliases: []string{"proto-loglevel"}, Env: []string{"TUNNEL_PROTO_LOGLEVEL", "TUNNEL_TRANSPORT_LOGLEVEL"},
			Default: "info", Usage: "least level of lines about the transport, of which there are only debug ones",
		},
		{Name: "logfile", Env: []string{"TUNNEL_LOGFILE"}, Usage: "`FILE` that log lines are appended to, as JSON"},
		{Name: "log-directory", Env: []string{"TUNNEL_LOGDIRECTORY"}, Usage: "`DIR` for the log file cloudflared.log, of at most " +
			"1 MB, and 5 former ones"},
		{
			Name: "output", Env: []string{"TUNNEL_MANAGEMENT_OUTPUT", "TUNNEL_LOG_OUTPUT"}, NoFile: true, Default: "default",
			Usage: "format of log lines: default or json",
		},
		{Name: "no-prechecks", Env: []string{"TUNNEL_NO_PRECHECKS"}, Kind: Bool, Usage: "no connectivity checks at the start"},
		{Name: "trace-output", Env: []string{"TUNNEL_TRACE_OUTPUT"}, Usage: "`FILE` for an execution trace, for go tool trace; complete after " +
			"the end"},
		{
			Name: "management-hostname", Env: []string{"TUNNEL_MANAGEMENT_HOSTNAME"}, Default: "management.argotunnel.com",
			Usage: "host of the management service",
		},
		{
			Name: "management-diagnostics", Env: []string{"TUNNEL_MANAGEMENT_DIAGNOSTICS"}, Kind: Bool, Default: "true",
			Usage: "metrics and profiles in the management service",
		},
		{
			Name: "service-op-ip", Env: []string{"TUNNEL_SERVICE_OP_IP"}, Default: "198.41.200.113:80",
			Usage: "address whose route tells the own IP that the management service shows",
		},
		{
			Name: "stdin-control", Env: []string{"STDIN_CONTROL"}, Kind: Bool,
			Usage: "obey commands on standard input: reconnect [DELAY] breaks one connection, help lists them",
		},
		{Name: "no-autoupdate", Env: []string{"NO_AUTOUPDATE"}, Kind: Bool, Usage: "no automatic update: there never is one"},
		{Name: "autoupdate-freq", Kind: Duration, Default: "24h0m0s", Effect: Ignored, Usage: "packages update this program, it does not " +
			"update itself"},
	}
}

// originFlags describe a single origin, for a configuration without ingress rules.
func originFlags() []Flag {
	return []Flag{
		{Name: "url", Env: []string{"TUNNEL_URL"}, Usage: "origin of all requests"},
		{Name: "hello-world", Env: []string{"TUNNEL_HELLO_WORLD"}, Kind: Bool, Usage: "serve a demo page for all requests"},
		{Name: "unix-socket", Env: []string{"TUNNEL_UNIX_SOCKET"}, Usage: "`PATH` of a Unix socket that serves all requests"},
		{Name: "bastion", Env: []string{"TUNNEL_BASTION"}, Kind: Bool, Usage: "jump host: the visitor's client names the destination"},
		{Name: "socks5", Env: []string{"TUNNEL_SOCKS"}, Kind: Bool, Usage: "the visitor's client speaks SOCKS5"},
		{Name: "proxy-connect-timeout", Kind: Duration, Default: "30s", Usage: "bound of connecting to the origin"},
		{Name: "proxy-tls-timeout", Kind: Duration, Default: "10s", Usage: "bound of the TLS handshake with the origin"},
		{Name: "proxy-tcp-keepalive", Kind: Duration, Default: "30s", Usage: "TCP keep-alive towards the origin"},
		{Name: "proxy-no-happy-eyeballs", Kind: Bool, Usage: "try the origin's addresses one after another"},
		{Name: "proxy-keepalive-connections", Kind: Int, Default: "100", Usage: "idle connections kept to the origin"},
		{Name: "proxy-keepalive-timeout", Kind: Duration, Default: "1m30s", Usage: "how long an idle connection is kept"},
		{Name: "http-host-header", Env: []string{"TUNNEL_HTTP_HOST_HEADER"}, Usage: "Host header towards the origin"},
		{Name: "origin-server-name", Env: []string{"TUNNEL_ORIGIN_SERVER_NAME"}, Usage: "name expected in the origin's certificate"},
		{Name: "origin-ca-pool", Env: []string{"TUNNEL_ORIGIN_CA_POOL"}, Usage: "PEM `FILE` with roots for the origin's certificate"},
		{Name: "no-tls-verify", Env: []string{"NO_TLS_VERIFY"}, Kind: Bool, Usage: "accept any certificate of the origin"},
		{
			Name: "no-chunked-encoding", Env: []string{"TUNNEL_NO_CHUNKED_ENCODING"}, Kind: Bool,
			Usage: "no chunked request bodies towards the origin",
		},
		{Name: "http2-origin", Env: []string{"TUNNEL_ORIGIN_ENABLE_HTTP2"}, Kind: Bool, Usage: "HTTP/2 towards an HTTPS origin"},
		{Name: "proxy-address", Env: []string{"TUNNEL_PROXY_ADDRESS"}, Default: "127.0.0.1", Usage: "listen address of connector-local proxies"},
		{Name: "proxy-port", Env: []string{"TUNNEL_PROXY_PORT"}, Kind: Uint, Default: "0", Usage: "listen port of connector-local proxies"},
	}
}
