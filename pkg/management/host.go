package management

import "time"

// The host names of the management service: of ordinary tunnels, and of those with a FedRAMP credential.
const (
	Host    = "management.argotunnel.com"
	FedHost = "management.fed.argotunnel.com"
)

// The query parameters of a request for the management host.
const (
	// TokenParameter holds the access token, which every request needs.
	TokenParameter = "access_token"
	// ConnectorParameter names the connector of a tunnel that the edge shall ask; without it any one is asked.
	ConnectorParameter = "connector_id"
)

// The paths of the management service.
const (
	PathPing        = "/ping"
	PathLogs        = "/logs"
	PathHostDetails = "/host_details"
	PathMetrics     = "/metrics"
	PathProfiles    = "/debug/pprof/" // followed by heap or goroutine
)

// The limits of a log stream.
const (
	// PingInterval is the time between two pings to the client of a stream.
	PingInterval = 15 * time.Second
	// IdleTimeout is how long a stream may be open without sending lines.
	IdleTimeout = 5 * time.Minute
	// Window is the number of lines that wait for a slow client; further ones are dropped.
	Window = 30
	// MaxMessage is the largest message of a client, in bytes.
	MaxMessage = 32 << 10
)

// Why the service closes a stream: a code of RFC 6455 7.4 for private use, and its text.
const (
	CloseInvalid      = 4001
	CloseLimit        = 4002
	CloseIdle         = 4003
	CloseInvalidText  = "expected start streaming as first event"
	CloseLimitText    = "limit exceeded for streaming sessions"
	CloseIdleText     = "session was idle for too long"
	CloseReplacedText = "context closed" // with code 1000, when the same actor opened another stream
)
