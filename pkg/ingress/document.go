package ingress

import "time"

// Document is a decoded configuration before validation. A nil pointer means that the key was absent: an explicit false, 0
// or "" overrides a default, an absent key does not (docs/spec/ingress.md 2.4).
type Document struct {
	Ingress       []RuleSpec
	OriginRequest OriginSpec
	WarpRouting   WarpSpec
}

// RuleSpec is one entry of the ingress list as written.
type RuleSpec struct {
	Hostname      string
	Path          string
	Service       string
	OriginRequest OriginSpec

	// Services, if there are any, take the place of Service, and Balance says how requests are spread over them.
	Services []ServiceSpec
	Balance  *BalanceSpec
	// Actions are what the rule does besides. ActionsFault says that the document has some that cannot be read.
	Actions      *ActionsSpec
	ActionsFault string
	// Match are conditions beside host and path. MatchFault says that the document has some that cannot be read.
	Match      *MatchSpec
	MatchFault string
}

// OriginSpec is an originRequest object as written: only the keys that are there.
type OriginSpec struct {
	ConnectTimeout         *time.Duration
	TLSTimeout             *time.Duration
	TCPKeepAlive           *time.Duration
	NoHappyEyeballs        *bool
	KeepAliveConnections   *int
	KeepAliveTimeout       *time.Duration
	HTTPHostHeader         *string
	OriginServerName       *string
	MatchSNIToHost         *bool
	CAPool                 *string
	NoTLSVerify            *bool
	DisableChunkedEncoding *bool
	HTTP2Origin            *bool
	BastionMode            *bool
	ProxyAddress           *string
	ProxyPort              *uint
	ProxyType              *string
	ResponseHeaderTimeout  *time.Duration
	ProxyProtocol          *string
	IPRules                []IPRuleSpec
	Access                 *AccessSpec
}

// IPRuleSpec is one entry of ipRules as written. Prefix is nil when the key was absent.
type IPRuleSpec struct {
	Prefix *string
	Ports  []int
	Allow  bool
}

// AccessSpec is an access object as written.
type AccessSpec struct {
	Required    bool
	TeamName    string
	AudTag      []string
	Environment string
	Issuer      string // ours: the reference ignores it
}

// WarpSpec is a warp-routing object as written.
type WarpSpec struct {
	ConnectTimeout *time.Duration
	TCPKeepAlive   *time.Duration
	MaxActiveFlows *uint64
	IPRules        []IPRuleSpec
	ProxyProtocol  *string
}
