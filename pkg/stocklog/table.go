package stocklog

import (
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// Texts of cloudflared that are long.
const (
	textNoFile = "Cannot determine default configuration path. No file [config.yml config.yaml] in " +
		"[~/.cloudflared ~/.cloudflare-warp ~/cloudflare-warp /etc/cloudflared /usr/local/etc/cloudflared]"
	textPortForward = "If your instance is running in a Docker/Kubernetes environment you need to setup port forwarding for your application."
	textNoLogs      = "Couldn't extract logs from the instance. If the instance is running in a containerized environment use the option " +
		"--diag-container-id or --diag-pod-id. If there is no logging configuration use --no-diag-logs."
	textNoRules = "No ingress rules were defined in provided config (if any) nor from the cli, cloudflared will return 503 for all " +
		"incoming HTTP requests"
	textH2Mux = "h2mux is no longer a supported protocol: upgrading edge connection to http2. Please remove '--protocol h2mux' from " +
		"runtime arguments to remove this warning."
	textUDPBlocked = "If this log occurs persistently, and cloudflared is unable to connect to Cloudflare Network with `quic` protocol, " +
		"then most likely your machine/network is getting its egress UDP to port 7844 (or others) blocked or dropped. Make sure to allow " +
		"egress connectivity as per " +
		"https://developers.cloudflare.com/cloudflare-one/connections/connect-apps/configuration/ports-and-ips/\n" +
		"If you are using private routing to this Tunnel, then ICMP, UDP (and Private DNS Resolution) will not work unless your " +
		"cloudflared can connect with Cloudflare Network with `quic`."
	textPingGroup = "The user running cloudflared process has a GID (group ID) that is not within ping_group_range. You might need to add " +
		"that user to a group within that range, or instead update the range to encompass a group the user is already in by modifying " +
		"/proc/sys/net/ipv4/ping_group_range. Otherwise cloudflared will not be able to ping this network"
	textNoDNS = "edge discovery: error looking up Cloudflare edge IPs: the DNS query failed"
)

// The errors that cloudflared gives to a connection that ended, whatever the cause.
const (
	textStreamListener = "accept stream listener encountered a failure while serving"
	textControlStream  = "control stream encountered a failure while serving"
	textEdgeClosed     = "connection with edge closed"
)

// Rows is the table: one row for each message that the parts of a connector log, by part. Docs/spec/logs.md shows it.
func Rows() []Row {
	var all []Row
	for _, part := range Parts() {
		all = append(all, part.Rows...)
	}
	return all
}

// Part is the rows of one part of a connector.
type Part struct {
	Name string
	Rows []Row
}

// Parts is the table by part.
func Parts() []Part {
	return []Part{
		{"process", slices.Concat(startRows(), checkRows(), processRows())},
		{"tunnel diag", diagRows()},
		{"conn-worker", append(connectionRows(), workerRows()...)},
		{"proxy", append(requestRows(), proxyRows()...)},
		{"supervisor and discovery", controlRows()},
		{"access", accessRows()},
		{"link, store and private listener", sharedRows()},
	}
}

// startRows are the lines from the start of the command to the first connection.
func startRows() []Row {
	return []Row{
		stock("unknown log level, using info", line(Error, `Failed to parse log level "{given}", using "info" instead`)),
		stock("logfile and log-directory are both given, using logfile", line(Error, "Your config includes values for both logfile ({file}) "+
			"and log-directory ({dir}), but they are incompatible. logfile takes precedence.")),
		own("unknown output format, using default"),
		own("log file cannot be written, logging to standard error only").
			because("cloudflared changes to another form then; the lines on standard error stay as they are"),
		stock("tunnel starts", line(Info, "Starting tunnel", from("tunnelID", logkey.TunnelID))),
		stock("program", line(Info, "Version {version} (Checksum {checksum})"),
			line(Info, "GOOS: {os}, GOVersion: {go_version}, GoArch: {arch}")),
		stock("settings", line(Info, "Settings: {given}")),
		stock("environment", line(Info, "Environmental variables {given}")),
		stock("no configuration file found", line(Info, textNoFile)),
		stock("configuration file is empty", line(Error, "Configuration file {file} was empty")),
		stock("configuration file read", line(Debug, "Loading configuration from {file}")),
		own("configuration file has unused keys"),
		own("secret on the command line, where every user of this host can read it; use a file or the environment"),
		own("flag without effect"),
		stock("no ingress rules, every response is a 503", line(Warn, textNoRules)),
		own("ingress rule to look at"),
		own("flag to look at"),
		own("credentials have no TunnelSecret, so the edge will refuse them; fetch the credentials file or token again"),
		stock("execution trace cannot be written",
			line(Error, "Failed to create new temporary file to save trace output", from("error", logkey.Err), from("file", logkey.File))),
		stock("metrics listener opened", line(Info, "Starting metrics server on {addr}/metrics")),
		stock("metrics listener not opened", line(Error, "Error opening metrics server listener", from("error", logkey.Err))),
		own("no metrics listener: no address is free, use --metrics to name one"),
		own("no Unix socket for changes, they need a token"),
	}
}

// accessRows are the lines of access tcp.
func accessRows() []Row {
	return []Row{
		stock("listener of access opened", line(Info, "Start Websocket listener", from("host", logkey.Host))),
		stock("application not reached",
			line(Error, "failed to connect to origin", from("error", logkey.Err), from("originURL", logkey.URL))),
	}
}

// checkRows are the lines about the connectivity checks; the lines of their table are messages of their own.
func checkRows() []Row {
	return []Row{
		stock("precheck", line(Info, "precheck", from("run_id", logkey.RunID), from("component", logkey.Component),
			from("target", logkey.Target), from("status", logkey.Status), from("details", logkey.Details))),
		stock("precheck complete", line(Info, "precheck complete", from("run_id", logkey.RunID), from("hard_fail", logkey.HardFail),
			from("suggested_protocol", logkey.SuggestedProtocol))),
	}
}

// processRows are the lines about the process, its files and its end.
func processRows() []Row {
	return []Row{
		dropped("first connection registered", "the line of the connection says it"),
		stock("pid file not written", line(Error, "Unable to write pid", from("error", logkey.Err))),
		own("service manager not notified"),
		own("no sign of life for the service manager"),
		own("reconnect requested on standard input"),
		own("command on standard input refused"),
		stock("unknown command on standard input", line(Info, "Unknown command", from("command", logkey.Command))),
		own("commands on standard input: help; reconnect [DELAY], which breaks one connection, chosen at random, and makes it again after " +
			"the delay"),
		own("end of standard input, no more commands"),
		own("first request went through"),
		stock("signal received", line(Info, "Initiating graceful shutdown due to signal {signal} ...")),
		stock("connector failed", line(Error, "Initiating shutdown", from("error", logkey.Err))),
		stock("connector stopped", line(Info, "Metrics server stopped"), line(Info, "Tunnel server stopped")),
		own("changed file not used, the former content stays in use"),
		own("file read again"),
		own("reload requested, reading changed files"),
		stock("part started", line(Same, "part {part} started")),
		stock("part not ready yet", line(Same, "part {part} is not ready yet", from("error", logkey.Err))),
		own("process failed"),
		own("process started"),
		own("process stopped"),
		stock("report line", line(Info, "{line}")),
		stock("requesting a quick tunnel",
			line(Info, "A quick tunnel needs no account and has no uptime guarantee; the terms of its service apply."),
			line(Info, "Requesting new quick Tunnel on {url}...")),
		stock("response of the quick service is not JSON",
			line(Error, "Error unmarshaling QuickTunnel response: {body}", from("error", logkey.Err), from("status code", logkey.Status))),
	}
}

// diagRows are the lines of the command that writes a diagnostic bundle.
func diagRows() []Row {
	return []Row{
		stock("looking for a connector on this host", line(Info, textPortForward)),
		stock("no connector found", line(Warn, "No instances found")),
		stock("several connectors found", line(Info, "Found multiple instances running:")),
		stock("connector found", line(Info, "Instance: tunnel-id={tunnel_id} connector-id={connector_id} metrics-address={url}")),
		stock("use --metrics to select one of the connectors", line(Info, "To select one instance use the option --metrics")),
		stock("diagnostic started", line(Info, "Selected server {url} starting diagnostic...")),
		stock("collecting", line(Info, "Collecting {name}...")),
		stock("collected", line(Info, "Collected {name}.")),
		stock("not collected", line(Error, "Job: {name} finished with error.", from("error", logkey.Err))),
		stock("logs of the connector not found", line(Info, textNoLogs)),
		stock("diagnostic file written", line(Info, "Diagnostic file written: {file}")),
		stock("diagnostic completed", line(Info, "Diagnostic completed")),
		stock("diagnostic completed with errors", line(Warn, "Diagnostic completed with one or more errors")),
	}
}

// onConn are the keys that cloudflared gives to the lines of one connection.
func onConn(more ...Source) []Source {
	return append([]Source{from("ip", logkey.EdgeAddr), from("connIndex", logkey.ConnIndex)}, more...)
}

// connLine is a line about a connection, with an error.
func connLine(level Rule, message string, err Source) Template {
	return line(level, message, onConn(err)...).of(EventConnector)
}

// The kinds of failures of a connection, as the worker logs them (lease.EventKind).
func failedDial() []string   { return []string{"dial_failed"} }
func failedServe() []string  { return []string{"lost", "silent"} }
func failedRefuse() []string { return []string{"refused", "rejected", "broken"} }
func failedRegister() []string {
	return append(failedRefuse(), "duplicate")
}

// failedRow is the failure or the loss of a connection. Cloudflared writes several lines, which depend on the transport.
func failedRow() Row {
	cause := from("error", logkey.Err)
	quic, http2 := when(logkey.Protocol, "quic"), when(logkey.Protocol, "http2")
	dial, serve := when(logkey.Kind, failedDial()...), when(logkey.Kind, failedServe()...)
	register, refuse := when(logkey.Kind, failedRegister()...), when(logkey.Kind, failedRefuse()...)
	terminated := func(err Source) Template {
		return line(ByConn, "Connection terminated", err, from("connIndex", logkey.ConnIndex))
	}
	return stock("connection failed",
		connLine(ByConn, "Failed to dial a quic connection", prefixedError("failed to dial to edge with quic: ")).
			only(quic, dial),
		connLine(ByConn, "Unable to establish connection with Cloudflare edge", prefixedError("DialContext error: ")).
			only(http2, dial),
		connLine(ByConn, "Serve tunnel error", prefixedError("DialContext error: ")).only(http2, dial),

		connLine(Error, "failed to accept incoming stream requests", prefixedError("failed to accept QUIC stream: ")).
			only(quic, serve),
		connLine(ByConn, "failed to serve tunnel connection", fixed("error", textStreamListener)).only(quic, serve),
		connLine(ByConn, "Serve tunnel error", fixed("error", textStreamListener)).only(quic, serve),
		line(Info, "Lost connection with the edge", from("connIndex", logkey.ConnIndex)).only(http2, serve),
		connLine(ByConn, "Serve tunnel error", fixed("error", textEdgeClosed)).only(http2, serve),

		connLine(Error, "failed to serve the control stream", cause).only(quic, register),
		connLine(ByConn, "failed to serve tunnel connection", fixed("error", textControlStream)).only(quic, register),
		connLine(ByConn, "Serve tunnel error", fixed("error", textControlStream)).only(quic, register),
		line(Error, "failed to serve incoming request", cause).only(http2, register),
		connLine(ByConn, "Unable to establish connection.", cause).only(http2, when(logkey.Kind, "duplicate")),
		connLine(ByConn, "Register tunnel error from server side", cause).only(http2, refuse),

		line(Info, "Retrying connection in up to {wait_up_to}", onConn()...).of(EventConnector).only(unless(logkey.WaitUpTo, "", "0s")),
		terminated(prefixedError("failed to dial to edge with quic: ")).only(quic, dial, unless(logkey.ConnIndex, "0")),
		terminated(fixed("error", textStreamListener)).only(quic, serve, unless(logkey.ConnIndex, "0")),
		terminated(fixed("error", textControlStream)).only(quic, register, unless(logkey.ConnIndex, "0")),
		terminated(prefixedError("DialContext error: ")).only(http2, dial),
		terminated(fixed("error", textEdgeClosed)).only(http2, serve),
		terminated(cause).only(http2, register, unless(logkey.ConnIndex, "0")),
	).because("cloudflared also writes that its datagram handler ended, and, over http2, that its control stream did; both say nothing new")
}

// connectionRows are the life of a connection.
func connectionRows() []Row {
	return []Row{
		stock("connector has its id", line(Info, "Generated Connector ID: {connector_id}")),
		stock("first protocol chosen", line(Info, "Initial protocol {protocol}")),
		stock("connection is dialled", line(Info, "Tunnel connection curve preferences: {curves}", onConn()...).of(EventConnector)),
		stock("connection is registered with the edge", line(Debug, "Registering tunnel connection",
			from("connIndex", logkey.ConnIndex), from("ip", logkey.EdgeAddr), from("protocol", logkey.Protocol)).of(EventConnector)),
		stock("connection registered", line(Info, "Registered tunnel connection",
			from("connection", logkey.ConnectionID), from("connIndex", logkey.ConnIndex), from("location", logkey.Location),
			from("ip", logkey.EdgeAddr), from("protocol", logkey.Protocol)).of(EventConnector)),
		failedRow(),
		stock("falling back to another protocol",
			line(Warn, textUDPBlocked, onConn()...).of(EventConnector).only(when(logkey.From, "quic")),
			line(Info, "Switching to fallback protocol {to}", onConn()...).of(EventConnector)),
		stock("returning to the preferred protocol", line(Info, "Changing protocol to {to}", onConn()...).of(EventConnector)),
		own("the preferred protocol still does not work").quiet(),
		stock("connection restarts on request",
			line(Info, "Restarting connection due to reconnect signal in {wait}", onConn()...).of(EventConnector)),
		own("slot moves to another holder").quiet(),
		own("connection drains").quiet(),
		own("connection ended").quiet(),
		stock("connection unregistered", line(Info, "Unregistered tunnel connection",
			from("connIndex", logkey.ConnIndex), from("ip", logkey.EdgeAddr)).of(EventConnector)),
		own("connection not unregistered"),
		own("drain is over, requests are cut"),
		stock("local configuration not uploaded", line(Error, "unable to send local configuration", from("error", logkey.Err))),
		own("edge refuses the credentials of this tunnel, retrying slowly"),
		stock("protocol h2mux is retired, http2 is used instead", line(Warn, textH2Mux)),
	}
}

// workerRows are the other lines of the conn-worker.
func workerRows() []Row {
	return []Row{
		own("keeper refused an event"),
		own("lease machine refused an event"),
		own("worker drains").quiet(),
		own("control plane is available again"),
		own("control plane is unavailable, connections stay"),
		own("hint dropped"),
		own("registration not removed, it expires by itself"),
		own("another process has the id of this worker, connections stay until it has taken them over"),
		own("leases not renewed"),
		own("connector has another id in the store, new registrations use it"),
		own("stored slot cannot be read, the others go on"),
		own("lease not released, it expires by itself"),
		own("protocol event rejected"),
		own("probe not closed").transport(),
		own("proxies changed").quiet(),
		own("configuration pushed to the proxies").quiet(),
		own("proxy rejects the configuration that others have"),
		own("proxy not reached with a configuration"),
		own("proxy not used"),
		own("flow panicked").as(EventHTTP),
		own("no proxy accepted a flow").transport(),
		own("rpc stream ended").transport(),
		own("datagram flow ended").transport(),
		own("udp payload dropped: it is larger than the edge takes").as(EventUDP).transport(),
		own("end of a udp session not told").as(EventUDP).transport(),
	}
}

// requestRows are the lines about requests and sessions of visitors.
func requestRows() []Row {
	return []Row{
		stock("request failed",
			line(Raised, "", from("connIndex", logkey.ConnIndex), from("originService", logkey.Origin),
				from("ingressRule", logkey.Rule), from("error", logkey.Err)).of(EventHTTP).only(unless(logkey.Type, "tcp")),
			line(Raised, "", from("connIndex", logkey.ConnIndex), fixed("originService", "warp-routing"), from("flowID", logkey.FlowID),
				from("destAddr", logkey.Dest), from("error", logkey.Err)).of(EventTCP).only(when(logkey.Type, "tcp")),
			line(Raised, "Request failed", from("connIndex", logkey.ConnIndex), from("error", logkey.Err), from("type", logkey.Type),
				from("dest", logkey.Dest)).of(EventConnector),
		).because("a visitor who goes away is no failure: the lines are at debug level then. The proxy knows neither the address of the edge " +
			"nor the transport, whose lines cloudflared words in another way over http2"),
		stock("request received", line(Debug, "{method} {url} HTTP/1.1", from("connIndex", logkey.ConnIndex), from("cfRay", logkey.RequestID),
			from("originService", logkey.Origin), from("ingressRule", logkey.Rule), from("host", logkey.Host), from("path", logkey.Path),
			from("headers", logkey.Headers), from("content-length", logkey.Bytes)).of(EventHTTP)),
		stock("response received", line(Debug, "{status} {reason}", from("connIndex", logkey.ConnIndex), from("cfRay", logkey.RequestID),
			from("originService", logkey.Origin), from("ingressRule", logkey.Rule), from("content-length", logkey.Bytes)).of(EventHTTP)),
		own("log stream refused, another actor has one"),
		stock("stream begins", line(Debug, "tcp proxy stream started", from("connIndex", logkey.ConnIndex),
			fixed("originService", "warp-routing"), from("flowID", logkey.FlowID), from("destAddr", logkey.Dest)).of(EventTCP)),
		stock("stream ended",
			line(Debug, "tcp proxy stream finished successfully", from("connIndex", logkey.ConnIndex), fixed("originService", "warp-routing"),
				from("flowID", logkey.FlowID), from("destAddr", logkey.Dest)).of(EventTCP).only(when(logkey.Kind, "tcp")),
			line(Debug, "stream ended", from("connIndex", logkey.ConnIndex), from("originService", logkey.Origin),
				from("ingressRule", logkey.Rule), from("destAddr", logkey.Dest), from("reason", logkey.Reason)).of(EventHTTP).
				only(unless(logkey.Kind, "tcp"))),
		own("udp session refused").as(EventUDP),
		own("udp session ended").as(EventUDP),
		own("udp session unregistered").as(EventUDP),
		own("udp sessions wait for another flow").as(EventUDP),
		own("icmp packet dropped"),
		own("ping denied"),
		own("ping not sent"),
		own("no ping socket"),
	}
}

// proxyRows are the lines about rules and the state of a proxy.
func proxyRows() []Row {
	return []Row{
		own("proxy serving").quiet(),
		own("proxy draining").quiet(),
		stock("configuration is not newer", line(Debug, "Current version is equal or newer than received version",
			from("current_version", logkey.Applied), from("received_version", logkey.Version))),
		stock("configuration applied", line(Info, "Updated to new configuration", from("version", logkey.Version),
			from("config", logkey.Document))),
		own("configuration in the store not opened"),
		own("configurations in the store not read"),
		own("shares of limits not renewed, the last ones stay"),
		own("shares of limits renewed again"),
		stock("configuration rejected", line(Same, "Failed to update ingress", from("error", logkey.Err), from("version", logkey.Version),
			from("config", logkey.Document))).because("each connection pushes the same document; the line is at error level once"),
		own("ingress rules accepted with a warning"),
		own("local configuration not noted in the history"),
		own("label of a container not used"),
		own("containers not read, their rules stay"),
		own("containers read again"),
		own("rules of a provider changed"),
		own("rules of a provider not used"),
		own("rule of a provider not used"),
		own("rule of a provider accepted with a warning"),
		own("state directory unusable"),
		own("saved configuration not used"),
		own("unused key in config file"),
		stock("no ingress rules", line(Warn, textNoRules)),
		own("rule refuses every request"),
		own("origin changed its state"),
		own("origin lookup failed"),
		own("system roots unavailable"),
		own("no certificate in CA file"),
		own("proxy registration failed"),
		own("proxy registered again"),
		own("hint failed"),
		own("proxy registration not removed"),
		own("resolver of the host not read"),
		stock("resolver of the host found", line(Debug, "Updating DNS local resolver: {resolver}")),
		stock("ping through the tunnel is not available",
			line(Warn, textPingGroup, from("error", logkey.Err), from("remedy", logkey.Remedy)).only(unless(logkey.Remedy, "")),
			line(Warn, "ICMP proxy feature is disabled", from("error", logkey.Err))).because("the key remedy is ours"),
		stock("sources of ICMP errors",
			line(Info, "ICMP proxy will use {ipv4} as source for IPv4"),
			line(Info, "ICMP proxy will use {ipv6} in zone {zone} as source for IPv6").only(unless(logkey.Zone, "")),
			line(Info, "ICMP proxy will use {ipv6} as source for IPv6").only(when(logkey.Zone, ""))).
			because("cloudflared writes these lines twice"),
		stock("demo page is served in this process", line(Info, "Starting Hello World server at in-process")).
			because("cloudflared names the address of a listener; ours has none"),
	}
}

// controlRows are the lines of the supervisor and of discovery.
func controlRows() []Row {
	return []Row{
		own("slot brings its workers down, it is held off"),
		own("slot granted").quiet(),
		own("slot released").quiet(),
		own("command of an operator was answered").quiet(),
		own("desired state changed").quiet(),
		own("configuration of a tunnel changed").quiet(),
		own("configurations of a tunnel sealed anew").quiet(),
		own("drain of a worker changed").quiet(),
		own("token of the ops API made").quiet(),
		own("token of the ops API revoked").quiet(),
		own("change is missing in the audit log"),
		own("event cannot be written"),
		own("plan outdated"),
		own("lead changed").quiet(),
		own("shards were divided among the supervisors").quiet(),
		own("lead not resigned, it runs out by itself"),
		own("lead not resigned"),
		stock("fewer connections than desired: the edge has too few addresses",
			line(Info, "You requested {desired} HA connections but I can give you at most {possible}.")),
		own("control plane is unavailable, nothing is granted"),
		own("part of the control plane failed, the rest goes on"),
		own("control plane is unavailable, nothing is published"),
		own("edge pool published").quiet(),
		own("name server breaker changed"),
		own("copy of the edge pool ignored"),
		own("edge pool of a former run is at hand"),
		own("edge pool not saved, a start without DNS will not have it"),
		own("edge addresses refused, private_addresses allows them"),
		own("static edge addresses skipped"),
		own("record not read"),
		stock("edge addresses not found, the last pool stays", line(Error, textNoDNS, from("error", logkey.Err)).of(EventConnector)).
			because("the advice that follows in cloudflared names the domain of its vendor's edge; ours may have another"),
		own("edge addresses found again"),
	}
}

// sharedRows are the lines of packages that several parts use.
func sharedRows() []Row {
	return []Row{
		own("link breaker changed"),
		own("request repeated through another proxy").transport(),
		own("link accept delayed"),
		own("link drain timed out"),
		own("link goaway not sent").transport(),
		own("link connection ended").transport(),
		own("embedded store is large, use a Redis server"),
		own("store is not set up as it must be"),
		own("changes of the network are not watched"),
		own("network changed, looking early"),
		own("request to the private listener failed"),
		own("problem not delivered"),
	}
}
