package settings

// ignoredFlags exist so that command lines written for the reference go on working; most have no effect there either. Their usage says
// why they have none, which a connector logs when one is given.
func ignoredFlags() []Flag {
	const (
		account = "only commands of an account with the vendor use it"
		retired = "cloudflared ignores it, too"
		adHoc   = "a tunnel is not created and routed in passing; use tunnel create, tunnel route and tunnel run"
		ssh     = "cloudflared has no SSH server any more; let an ingress rule lead to ssh://localhost:22"
		dns     = "cloudflared has no DNS proxy any more"
	)
	flags := []Flag{
		{Name: "name", Aliases: []string{"n"}, Env: []string{"TUNNEL_NAME"}, Effect: Later, Usage: adHoc},
		{Name: "hostname", Env: []string{"TUNNEL_HOSTNAME"}, Effect: Later, Usage: adHoc},
		{Name: "lb-pool", Env: []string{"TUNNEL_LB_POOL"}, Effect: Later, Usage: adHoc},
		{
			Name: "overwrite-dns", Aliases: []string{"f"}, Env: []string{"TUNNEL_FORCE_PROVISIONING_DNS"}, Kind: Bool, NoFile: true,
			Effect: Later, Usage: adHoc,
		},
		{Name: "quick-service", Default: "https://api.trycloudflare.com", Usage: "`URL` of the service that makes a tunnel without an account " +
			"for tunnel --url"},
		{Name: "proxy-dns", Kind: Bool, Effect: Later, Usage: dns},
	}
	ignored := func(why string, more ...Flag) {
		for _, f := range more {
			f.Effect, f.Usage = Ignored, why
			flags = append(flags, f)
		}
	}
	ignored(account,
		Flag{Name: "api-url", Env: []string{"TUNNEL_API_URL"}, Default: "https://api.cloudflare.com/client/v4"},
		Flag{Name: "api-key", Env: []string{"TUNNEL_API_KEY"}, Secret: true},
		Flag{Name: "api-email", Env: []string{"TUNNEL_API_EMAIL"}},
		Flag{Name: "api-ca-key", Env: []string{"TUNNEL_API_CA_KEY"}, Secret: true},
		Flag{Name: "max-fetch-size", Env: []string{"TUNNEL_MAX_FETCH_SIZE"}, Kind: Int})
	ignored("name the tunnel behind run instead", Flag{Name: "id", Env: []string{"TUNNEL_ID"}})
	ignored(retired,
		Flag{Name: "dial-edge-timeout", Env: []string{"DIAL_EDGE_TIMEOUT"}, Kind: Duration, Default: "15s"},
		Flag{Name: "heartbeat-interval", Kind: Duration, Default: "5s"},
		Flag{Name: "heartbeat-count", Kind: Int, Default: "5"},
		Flag{Name: "compression-quality", Env: []string{"TUNNEL_COMPRESSION_LEVEL"}, Kind: Int, Default: "0"},
		Flag{Name: "use-reconnect-token", Env: []string{"TUNNEL_USE_RECONNECT_TOKEN"}, Kind: Bool, Default: "true"},
		Flag{Name: "metrics-update-freq", Env: []string{"TUNNEL_METRICS_UPDATE_FREQ"}, Kind: Duration, Default: "5s"},
		Flag{Name: "proxy-connection-timeout", Kind: Duration, Default: "1m30s"},
		Flag{Name: "proxy-expect-continue-timeout", Kind: Duration, Default: "1m30s"},
		Flag{Name: "ui", Kind: Bool}, Flag{Name: "is-autoupdated", Kind: Bool})
	ignored(ssh,
		Flag{Name: "ssh-server", Env: []string{"TUNNEL_SSH_SERVER"}, Kind: Bool},
		Flag{Name: "local-ssh-port", Env: []string{"LOCAL_SSH_PORT"}, Default: "2222"},
		Flag{Name: "ssh-idle-timeout", Env: []string{"SSH_IDLE_TIMEOUT"}, Kind: Duration},
		Flag{Name: "ssh-max-timeout", Env: []string{"SSH_MAX_TIMEOUT"}, Kind: Duration},
		Flag{Name: "bucket-name", Env: []string{"BUCKET_ID"}},
		Flag{Name: "region-name", Env: []string{"REGION_ID"}},
		Flag{Name: "secret-id", Env: []string{"SECRET_ID"}, Secret: true},
		Flag{Name: "access-key-id", Env: []string{"ACCESS_CLIENT_ID"}, Secret: true},
		Flag{Name: "session-token", Env: []string{"SESSION_TOKEN_ID"}, Secret: true},
		Flag{Name: "s3-url-host", Env: []string{"S3_URL"}},
		Flag{Name: "host-key-path", Env: []string{"HOST_KEY_PATH"}})
	ignored(dns,
		Flag{Name: "proxy-dns-port", Kind: Int}, Flag{Name: "proxy-dns-address"}, Flag{Name: "proxy-dns-upstream", Kind: List},
		Flag{Name: "proxy-dns-max-upstream-conns", Kind: Int}, Flag{Name: "proxy-dns-bootstrap", Kind: List})
	return flags
}
