package ingress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The keys of a rule that the reference does not know and ignores: services and balance (docs/balancing.md). The same types decode both
// forms, YAML and JSON, and describe the keys in the schema for editors. Unknown keys in them are errors: a misspelled key must not be
// silently without effect.

// Duration is a time in the keys of our own: text with a unit, or a whole number of seconds.
type Duration time.Duration

// UnmarshalJSON reads both forms.
func (d *Duration) UnmarshalJSON(b []byte) error { return (*seconds)(d).UnmarshalJSON(b) }

// MarshalJSON writes text with a unit.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// strict decodes b into v and refuses unknown keys.
func strict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		return nil
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s: a %s is not possible here", wrong.Field, wrong.Value)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// ServiceSpec is one origin of a rule with several: its service as text, or an object with more about it.
type ServiceSpec struct {
	Service string `json:"service" doc:"what service of a rule may be: http, https, h2c, unix, tcp, ssh and the like"`
	Weight  *int   `json:"weight,omitempty" doc:"share of the requests, 1 to 1000; default 1"`
	Backup  bool   `json:"backup,omitempty" doc:"used only while too few of the others can be used"`
}

// UnmarshalJSON reads both forms.
func (s *ServiceSpec) UnmarshalJSON(b []byte) error {
	*s = ServiceSpec{}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &s.Service)
	}
	type plain ServiceSpec
	return strict(b, (*plain)(s))
}

// BalanceSpec says how requests are spread over the origins of a rule.
type BalanceSpec struct {
	Policy  string     `json:"policy,omitempty" enum:"round_robin,least_in_flight,random_two,hash" doc:"default round_robin"`
	HashBy  string     `json:"hashBy,omitempty" doc:"for hash: client (default), header:NAME or cookie:NAME"`
	Panic   *int       `json:"panicThreshold,omitempty" doc:"percent of the origins that must be usable, else all are used; default 50"`
	Slow    *Duration  `json:"slowStart,omitempty" doc:"time over which an origin that is back gets its whole share; default 30s"`
	Resolve *Duration  `json:"resolve,omitempty" doc:"look names up again this often and use every address as an origin; default 0, never"`
	Failure string     `json:"failureStatus,omitempty" doc:"statuses that count as failures, such as 500-599 (default); none is none"`
	Check   *CheckSpec `json:"healthCheck,omitempty" doc:"requests that show whether an origin is well"`
	Eject   *EjectSpec `json:"eject,omitempty" doc:"when an origin is left out because requests to it failed"`
	Retry   *RetrySpec `json:"retry,omitempty" doc:"repeats of failed requests at another origin"`
}

// CheckSpec is an active health check.
type CheckSpec struct {
	Type     string    `json:"type,omitempty" enum:"http,tcp,grpc" doc:"http (default), tcp or grpc"`
	Path     string    `json:"path,omitempty" doc:"http: path and query; default /"`
	Host     string    `json:"host,omitempty" doc:"http: Host header; default is the origin's host"`
	Status   string    `json:"status,omitempty" doc:"http: statuses of a healthy origin; default 200-399"`
	Body     string    `json:"body,omitempty" doc:"http: text that the first 64 KiB of the body must contain"`
	Service  string    `json:"service,omitempty" doc:"grpc: name of the service that is asked for; default is the whole server"`
	Interval *Duration `json:"interval,omitempty" doc:"time between checks; default 10s"`
	Timeout  *Duration `json:"timeout,omitempty" doc:"time that a check may take; default 5s"`
	Rise     *int      `json:"rise,omitempty" doc:"good results in a row until the origin is used again; default 2"`
	Fall     *int      `json:"fall,omitempty" doc:"bad results in a row until the origin is left out; default 3"`
}

// EjectSpec is passive ejection.
type EjectSpec struct {
	Failures *int      `json:"failures,omitempty" doc:"failures in a row until an origin is left out; default 5, 0 is never"`
	For      *Duration `json:"for,omitempty" doc:"how long it is left out before a request tries it again; default 10s"`
}

// RetrySpec bounds repeats.
type RetrySpec struct {
	Attempts *int `json:"attempts,omitempty" doc:"most attempts of one request; default 3, 1 is no repeat"`
	Budget   *int `json:"budget,omitempty" doc:"repeats in percent of the requests, beside a reserve of 10; default 20"`
}

// UnmarshalJSON refuses unknown keys.
func (s *BalanceSpec) UnmarshalJSON(b []byte) error {
	type plain BalanceSpec
	*s = BalanceSpec{}
	return strict(b, (*plain)(s))
}
