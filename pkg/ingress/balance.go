package ingress

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxServices is the largest number of origins of one rule.
const MaxServices = 64

const (
	maxWeight   = 1000
	maxPercent  = 100
	maxAttempts = 10
	maxInRow    = 1000
	minInterval = time.Second

	statusNone  = "none"
	allFailures = "500-599"
	allHealthy  = "200-399"
)

// BalancePolicy is the name of a way to choose an origin.
type BalancePolicy string

// The policies.
const (
	BalanceRoundRobin    BalancePolicy = "round_robin"
	BalanceLeastInFlight BalancePolicy = "least_in_flight"
	BalanceRandomTwo     BalancePolicy = "random_two"
	BalanceHash          BalancePolicy = "hash"
)

// CheckType is the kind of a health check.
type CheckType string

// The kinds of health checks.
const (
	CheckHTTP CheckType = "http"
	CheckTCP  CheckType = "tcp"
	CheckGRPC CheckType = "grpc"
)

// Target is one origin of a rule with several.
type Target struct {
	Service Service
	Weight  int // at least 1
	Backup  bool
}

// StatusRange is an inclusive range of statuses.
type StatusRange struct{ From, To int }

// Statuses is a set of statuses.
type Statuses []StatusRange

// Has reports whether a status is in the set.
func (s Statuses) Has(status int) bool {
	return slices.ContainsFunc(s, func(r StatusRange) bool { return r.From <= status && status <= r.To })
}

// Balance is the effective balance object of a rule with several origins.
type Balance struct {
	Policy   BalancePolicy
	HashBy   HashKey
	Panic    int // percent
	Slow     time.Duration
	Resolve  time.Duration // 0 is never
	Failure  Statuses
	Check    *Check // nil without health checks
	Failures int    // in a row until ejection; 0 is never
	Eject    time.Duration
	Attempts int
	Budget   int // percent
}

// HashKey is what the policy hash goes by: a header, a cookie, or with neither the client's address.
type HashKey struct{ Header, Cookie string }

// Check is an effective health check.
type Check struct {
	Type                   CheckType
	Path, Host, Body, Name string // Name of the gRPC service
	Status                 Statuses
	Interval, Timeout      time.Duration
	Rise, Fall             int
}

// compileServices resolves the keys services and balance of a rule.
func compileServices(spec *RuleSpec) ([]Target, Balance, error) {
	balance, err := compileBalance(spec.Balance)
	if err != nil {
		return nil, Balance{}, fmt.Errorf("balance: %w", err)
	}
	if len(spec.Services) > MaxServices {
		return nil, Balance{}, fmt.Errorf("services: %d are more than %d", len(spec.Services), MaxServices)
	}
	targets := make([]Target, len(spec.Services))
	primaries := 0
	for i, s := range spec.Services {
		t, err := compileTarget(s)
		if err != nil {
			return nil, Balance{}, fmt.Errorf("services: %d: %w", i, err)
		}
		if t.Service.isStream() != targets[0].Service.isStream() && i > 0 {
			return nil, Balance{}, fmt.Errorf("services: %d: %s is a byte stream or HTTP unlike those before it", i, t.Service)
		}
		if !t.Backup {
			primaries++
		}
		targets[i] = t
	}
	if primaries == 0 {
		return nil, Balance{}, errors.New("services: all are backups")
	}
	return targets, balance, nil
}

func compileTarget(s ServiceSpec) (Target, error) {
	service, err := parseService(s.Service, false)
	if err != nil {
		return Target{}, err
	}
	switch service.Kind {
	case KindHTTP, KindH2C, KindUnix, KindUnixTLS, KindStream:
	default:
		return Target{}, fmt.Errorf("%s cannot be one of several origins", service)
	}
	weight, err := within("weight", s.Weight, 1, 1, maxWeight)
	return Target{Service: service, Weight: weight, Backup: s.Backup}, err
}

func (s Service) isStream() bool { return s.Kind == KindStream }

func compileBalance(spec *BalanceSpec) (Balance, error) {
	if spec == nil {
		spec = &BalanceSpec{}
	}
	var errs [12]error
	b := Balance{Policy: BalancePolicy(orDefault(spec.Policy, string(BalanceRoundRobin)))}
	if !slices.Contains([]BalancePolicy{BalanceRoundRobin, BalanceLeastInFlight, BalanceRandomTwo, BalanceHash}, b.Policy) {
		errs[0] = fmt.Errorf("policy: %q is none", spec.Policy)
	}
	b.HashBy, errs[1] = parseHashKey(spec.HashBy)
	b.Panic, errs[2] = within("panicThreshold", spec.Panic, 50, 0, maxPercent)
	b.Slow, errs[3] = atLeast("slowStart", spec.Slow, 30*time.Second, 0)
	b.Resolve, errs[4] = atLeast("resolve", spec.Resolve, 0, minInterval)
	b.Failure, errs[5] = parseStatuses("failureStatus", orDefault(spec.Failure, allFailures))
	if spec.Check != nil {
		b.Check, errs[6] = compileCheck(spec.Check)
	}
	eject := EjectSpec{}
	if spec.Eject != nil {
		eject = *spec.Eject
	}
	b.Failures, errs[7] = within("eject.failures", eject.Failures, 5, 0, maxInRow)
	b.Eject, errs[8] = atLeast("eject.for", eject.For, 10*time.Second, minInterval)
	retry := RetrySpec{}
	if spec.Retry != nil {
		retry = *spec.Retry
	}
	b.Attempts, errs[9] = within("retry.attempts", retry.Attempts, 3, 1, maxAttempts)
	b.Budget, errs[10] = within("retry.budget", retry.Budget, 20, 0, maxPercent)
	return b, errors.Join(errs[:]...)
}

func compileCheck(spec *CheckSpec) (*Check, error) {
	c := &Check{
		Type: CheckType(orDefault(spec.Type, string(CheckHTTP))), Path: orDefault(spec.Path, "/"),
		Host: spec.Host, Body: spec.Body, Name: spec.Service,
	}
	var errs [7]error
	if c.Type != CheckHTTP && c.Type != CheckTCP && c.Type != CheckGRPC {
		errs[0] = fmt.Errorf("healthCheck.type: %q is none", spec.Type)
	}
	if c.Path[0] != '/' || strings.ContainsAny(c.Path, " #\r\n\t") {
		errs[1] = fmt.Errorf("healthCheck.path: %q is no path", spec.Path)
	}
	c.Status, errs[2] = parseStatuses("healthCheck.status", orDefault(spec.Status, allHealthy))
	c.Interval, errs[3] = atLeast("healthCheck.interval", spec.Interval, 10*time.Second, minInterval)
	c.Timeout, errs[4] = atLeast("healthCheck.timeout", spec.Timeout, 5*time.Second, minInterval/10)
	c.Rise, errs[5] = within("healthCheck.rise", spec.Rise, 2, 1, maxInRow)
	c.Fall, errs[6] = within("healthCheck.fall", spec.Fall, 3, 1, maxInRow)
	return c, errors.Join(errs[:]...)
}

func orDefault(text, byDefault string) string {
	if text == "" {
		return byDefault
	}
	return text
}

func within(key string, v *int, byDefault, least, most int) (int, error) {
	if v == nil {
		return byDefault, nil
	}
	if *v < least || *v > most {
		return 0, fmt.Errorf("%s: %d is not between %d and %d", key, *v, least, most)
	}
	return *v, nil
}

// atLeast accepts zero and everything from least on.
func atLeast(key string, v *Duration, byDefault, least time.Duration) (time.Duration, error) {
	if v == nil {
		return byDefault, nil
	}
	d := time.Duration(*v)
	if d < 0 || d > 0 && d < least || d == 0 && byDefault >= least && least > 0 {
		return 0, fmt.Errorf("%s: %s is less than %s", key, d, least)
	}
	return d, nil
}

func parseHashKey(text string) (HashKey, error) {
	kind, name, _ := strings.Cut(text, ":")
	switch {
	case text == "" || text == "client":
		return HashKey{}, nil
	case kind == "header" && name != "":
		return HashKey{Header: name}, nil
	case kind == "cookie" && name != "":
		return HashKey{Cookie: name}, nil
	}
	return HashKey{}, fmt.Errorf("hashBy: %q is not client, header:NAME or cookie:NAME", text)
}

// parseStatuses reads statuses and ranges with commas between them.
func parseStatuses(key, text string) (Statuses, error) {
	if text == statusNone {
		return nil, nil
	}
	var out Statuses
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		from, err := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err != nil || err2 != nil || from < minStatus || to > maxStatus || from > to {
			return nil, fmt.Errorf("%s: %q is not a status or a range such as 500-599", key, part)
		}
		out = append(out, StatusRange{from, to})
	}
	return out, nil
}
