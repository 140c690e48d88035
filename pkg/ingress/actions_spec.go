package ingress

import "encoding/json"

// ActionsSpec is what a rule does with a request besides passing it on, as written (docs/actions.md). The reference ignores it.
type ActionsSpec struct {
	IPRules         []IPRuleSpec   `json:"ipRules,omitempty" doc:"visitors by address; the first entry that has it decides, none denies"`
	TrustedHops     []string       `json:"trustedHops,omitempty" doc:"networks of proxies whose X-Forwarded-For names the visitor"`
	BasicAuth       *BasicAuthSpec `json:"basicAuth,omitempty" doc:"user names and hashed passwords"`
	Limits          *LimitsSpec    `json:"limits,omitempty" doc:"requests in progress and per second, of all visitors and of each"`
	MaxBody         *int64         `json:"maxBody,omitempty" doc:"largest body of a request in bytes; status 413 beyond"`
	Timeout         *Duration      `json:"timeout,omitempty" doc:"limit of a whole exchange; of a WebSocket or byte stream until it begins"`
	IdleTimeout     *Duration      `json:"idleTimeout,omitempty" doc:"how long an exchange, WebSocket or stream may pass no byte either way"`
	Redirect        *RedirectSpec  `json:"redirect,omitempty" doc:"respond with a redirect"`
	Respond         *RespondSpec   `json:"respond,omitempty" doc:"respond with a fixed text or a file"`
	Listing         bool           `json:"listing,omitempty" doc:"for file:///DIR: list directories without index.html"`
	StripPrefix     string         `json:"stripPrefix,omitempty" doc:"beginning of the path that the origin does not see, such as /api"`
	Rewrite         *RewriteSpec   `json:"rewrite,omitempty" doc:"another path for the origin"`
	RequestHeaders  *HeadersSpec   `json:"requestHeaders,omitempty" doc:"changes of the header that the origin sees"`
	ResponseHeaders *HeadersSpec   `json:"responseHeaders,omitempty" doc:"changes of the header that the visitor sees"`
}

// UnmarshalJSON refuses unknown keys.
func (s *ActionsSpec) UnmarshalJSON(b []byte) error {
	type plain ActionsSpec
	*s = ActionsSpec{}
	return strict(b, (*plain)(s))
}

// BasicAuthSpec names the users of a rule.
type BasicAuthSpec struct {
	Realm string            `json:"realm,omitempty" doc:"name that browsers show"`
	Users map[string]string `json:"users" doc:"user name to bcrypt hash of the password (htpasswd -B)"`
}

// LimitsSpec bounds the requests of a rule.
type LimitsSpec struct {
	InFlight          *int     `json:"inFlight,omitempty" doc:"requests in progress; status 503 beyond"`
	InFlightPerClient *int     `json:"inFlightPerClient,omitempty" doc:"the same for one visitor"`
	Rate              *float64 `json:"rate,omitempty" doc:"requests per second; status 429 beyond"`
	Burst             *int     `json:"burst,omitempty" doc:"requests at once; default is the rate of two seconds"`
	RatePerClient     *float64 `json:"ratePerClient,omitempty" doc:"the same for one visitor"`
	BurstPerClient    *int     `json:"burstPerClient,omitempty" doc:"the same for one visitor"`
}

// RedirectSpec is a redirect.
type RedirectSpec struct {
	To     string `json:"to" doc:"URL or path, with variables"`
	Status *int   `json:"status,omitempty" doc:"301, 302, 303, 307 or 308 (default)"`
}

// RespondSpec is a fixed response.
type RespondSpec struct {
	Status      *int   `json:"status,omitempty" doc:"default 200"`
	Body        string `json:"body,omitempty" doc:"text, at most 64 KiB"`
	File        string `json:"file,omitempty" doc:"absolute path of a file that is the body, instead of body"`
	ContentType string `json:"contentType,omitempty" doc:"default text/plain; charset=utf-8, for a file what its name says"`
}

// RewriteSpec replaces what an expression matches in the path.
type RewriteSpec struct {
	From string `json:"from" doc:"regular expression on the decoded path, RE2 syntax"`
	To   string `json:"to" doc:"replacement; $1 is the first group"`
}

// HeadersSpec changes a header.
type HeadersSpec struct {
	Remove []string          `json:"remove,omitempty" doc:"names"`
	Set    map[string]string `json:"set,omitempty" doc:"name to value, with variables; replaces every value there is"`
	Add    map[string]string `json:"add,omitempty" doc:"name to value, with variables; beside the values there are"`
}

// UnmarshalJSON reads the keys of ipRules.
func (s *IPRuleSpec) UnmarshalJSON(b []byte) error {
	var j jsonIPRule
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*s = IPRuleSpec(j)
	return nil
}

// MarshalJSON writes the keys of ipRules.
func (s IPRuleSpec) MarshalJSON() ([]byte, error) { return json.Marshal(jsonIPRule(s)) }
