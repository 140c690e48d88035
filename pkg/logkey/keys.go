package logkey

// Identity: what a line is about.
const (
	TunnelID     = "tunnel_id"     // id of a tunnel, a UUID
	ConnectorID  = "connector_id"  // id of a connector, a UUID
	ConnIndex    = "conn_index"    // number of a connection of a connector, from 0
	ConnectionID = "connection_id" // id that the edge gave to a connection, a UUID
	WorkerID     = "worker_id"     // id of a conn-worker process
	ProxyID      = "proxy_id"      // id of a proxy process
	SupervisorID = "supervisor_id" // id of a supervisor process
	SessionID    = "session_id"    // id of a UDP session, a UUID
	FlowID       = "flow_id"       // id of one request, connection or association of a visitor
	RequestID    = "request_id"    // id that the edge gave to a request of a visitor
	Epoch        = "epoch"         // epoch of a lease
	Version      = "version"       // version of a configuration, a record or the program
)

// Place: where it happened.
const (
	Addr           = "addr"            // address of a listener or peer
	AdminSocket    = "admin_socket"    // path of the admin socket of the edge
	Client         = "client"          // address of the client of a request
	ConnectorAddrs = "connector_addrs" // addresses on which the edge accepts connectors
	Dest           = "dest"            // address to which a datagram or connection goes
	DNSAddr        = "dns_addr"        // addresses of the DNS server of the edge
	EdgeAddr       = "edge_addr"       // address of an edge
	Endpoints      = "endpoints"       // addresses of the link of a proxy
	Headers        = "headers"         // fields of the header of a request, without credentials
	IPv4           = "ipv4"            // an IPv4 address, or whether something is possible over IPv4
	IPv6           = "ipv6"            // the same of IPv6
	Host           = "host"            // host name of a request
	Location       = "location"        // location that an edge reports
	Metrics        = "metrics"         // address of the metrics listener
	Ops            = "ops"             // address of the ops listener
	Method         = "method"          // method of a request
	Origin         = "origin"          // origin of a rule, without user and password
	Part           = "part"            // part of a process
	Path           = "path"            // path of a request, decoded
	Port           = "port"            // name of a public port of the edge
	Protocol       = "protocol"        // protocol of a connection: quic or http2
	PublicTLSURL   = "public_tls_url"  // address of the public HTTPS listener
	PublicURL      = "public_url"      // address of the public HTTP listener
	Region         = "region"          // region of an edge address
	RemoteAddr     = "remote_addr"     // address of the other side of a connection
	Resolver       = "resolver"        // address of a DNS server
	Rule           = "rule"            // position of an ingress rule, from 0
	Side           = "side"            // side of a stream that failed first
	Zone           = "zone"            // interface of an IPv6 address
	URL            = "url"             // a URL, without user and password
)

// Event: what happened, and why.
const (
	Body      = "body"       // start of the body of a response
	Line      = "line"       // one line of a report or table
	Cause     = "cause"      // reason of the end of a context
	Command   = "command"    // a line that asks for something
	CommandID = "command_id" // id of a command of an operator
	Outcome   = "outcome"    // what became of a command
	Author    = "author"     // who made a change, as they said
	Drained   = "drained"    // whether a worker is drained by an operator
	Code      = "code"       // error code that a response carries
	Err       = "err"        // an error
	From      = "from"       // value before a change
	Kind      = "kind"       // kind of a thing that the message names
	Panic     = "panic"      // value of a panic
	Reason    = "reason"     // reason of a decision
	Remedy    = "remedy"     // command that removes the cause of a failure
	Result    = "result"     // result of an operation
	Stack     = "stack"      // stack of a goroutine
	State     = "state"      // state of a state machine
	Status    = "status"     // status of a response
	To        = "to"         // value after a change
	Type      = "type"       // type of a stream: http, ws or tcp
	Using     = "using"      // value that is used instead of the one given
	Warning   = "warning"    // text of a warning about the configuration
)

// Settings: what a process was started with.
const (
	Arch       = "arch"         // operating system and architecture
	CACert     = "ca_cert"      // path of a CA certificate
	Checksum   = "checksum"     // SHA-256 of the program
	CANotAfter = "ca_not_after" // time at which a CA certificate expires
	Curves     = "curves"       // key exchanges that a TLS handshake offers
	Document   = "document"     // text of a configuration; lines in our own form leave it out
	Dir        = "dir"          // path of a directory
	File       = "file"         // path of a file
	Flag       = "flag"         // name of a flag
	Flags      = "flags"        // names of flags
	Given      = "given"        // settings that were given, with secrets masked
	GoVersion  = "go_version"   // version of Go that built the program
	Key        = "key"          // key of a setting
	Keys       = "keys"         // keys of settings
	Name       = "name"         // name of a thing that the message names
	OS         = "os"           // operating system
	Record     = "record"       // name of a record of the store
	Saved      = "saved"        // time at which something was saved
	Signal     = "signal"       // name of a signal
	Source     = "source"       // origin of a value: a file, the environment, a flag
	Topic      = "topic"        // topic of a hint
)

// Measure: numbers, sizes and durations.
const (
	Addresses     = "addresses"       // number of addresses
	Number        = "number"          // number that the store gave to an operator's version of a configuration
	Applied       = "applied"         // version of the configuration that is in use
	Bytes         = "bytes"           // a size in bytes
	BytesIn       = "bytes_in"        // bytes received from a visitor
	BytesOut      = "bytes_out"       // bytes sent to a visitor
	BytesToEdge   = "bytes_to_edge"   // bytes sent towards the edge
	BytesToOrigin = "bytes_to_origin" // bytes sent towards the origin
	Connections   = "connections"     // number of connections
	Deaths        = "deaths"          // number of processes in a row that ended while they held a slot
	Desired       = "desired"         // number of things that the configuration asks for
	Failures      = "failures"        // number of failures in a row
	Flows         = "flows"           // number of flows
	GracePeriod   = "grace_period"    // longest duration of a drain
	InFlight      = "in_flight"       // number of requests in progress
	Leading       = "leading"         // whether this process is the leader
	Limit         = "limit"           // a limit that was reached
	NextProbeIn   = "next_probe_in"   // time until the next probe
	Possible      = "possible"        // number of things that are possible at most
	Proxies       = "proxies"         // number of proxies
	Regions       = "regions"         // number of regions
	Retries       = "retries"         // number of retries
	Rules         = "rules"           // number of ingress rules
	Sessions      = "sessions"        // number of sessions
	Shards        = "shards"          // number of shards of tunnels
	Supervisors   = "supervisors"     // number of supervisors
	Suppressed    = "suppressed"      // number of lines that were not logged since the last one
	Took          = "took"            // duration of an operation
	TunnelKnown   = "tunnel_known"    // whether the edge knows the tunnel
	UDPSessions   = "udp_sessions"    // number of UDP sessions
	Wait          = "wait"            // time until the next attempt
	WaitUpTo      = "wait_up_to"      // longest time until the next attempt, of which a random part is waited
)

// Check: the result of connectivity checks.
const (
	Component         = "component"          // component that a check is about
	Details           = "details"            // result of a check in words
	HardFail          = "hard_fail"          // whether the checks leave no hope for a tunnel
	RunID             = "run_id"             // id of one run of the checks, a UUID
	SuggestedProtocol = "suggested_protocol" // protocol that the checks suggest
	Target            = "target"             // address that a check tried
)
