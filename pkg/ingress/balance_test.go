package ingress_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

func TestServices(t *testing.T) {
	set, err := fromYAML(`
ingress:
  - hostname: app.test
    service: http://a:1
    services:
      - http://a:1
      - {service: "https://b", weight: 3}
      - {service: "unix:/x.sock", backup: true}
    balance:
      policy: hash
      hashBy: cookie:sid
      slowStart: 1m
      resolve: 5
      panicThreshold: 0
      failureStatus: 500, 502-504
      healthCheck: {path: /up, status: "200", body: ok, interval: 2s, timeout: 1s, rise: 1, fall: 4}
      eject: {failures: 0, for: 1m}
      retry: {attempts: 1, budget: 5}
  - service: http_status:404
    services: [tcp://x:1, ssh://y]
`)
	if err != nil {
		t.Fatal(err)
	}
	if w := set.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
	r := set.Rules[0]
	texts := []string{}
	for _, target := range r.Targets {
		texts = append(texts, target.Service.Text())
	}
	same(t, "services", texts, []string{"http://a:1", "https://b", "unix:/x.sock"})
	same(t, "weights", []int{r.Targets[0].Weight, r.Targets[1].Weight, r.Targets[2].Weight}, []int{1, 3, 1})
	same(t, "backup", []bool{r.Targets[1].Backup, r.Targets[2].Backup}, []bool{false, true})
	same(t, "service for reports", r.Service.Text(), "http://a:1")
	same(t, "balance", r.Balance, ingress.Balance{
		Policy: ingress.BalanceHash, HashBy: ingress.HashKey{Cookie: "sid"}, Slow: time.Minute, Resolve: 5 * time.Second,
		Failure: ingress.Statuses{{From: 500, To: 500}, {From: 502, To: 504}}, Eject: time.Minute, Attempts: 1, Budget: 5,
		Check: &ingress.Check{
			Type: ingress.CheckHTTP, Path: "/up", Body: "ok", Status: ingress.Statuses{{From: 200, To: 200}},
			Interval: 2 * time.Second, Timeout: time.Second, Rise: 1, Fall: 4,
		},
	})
	same(t, "defaults", set.Rules[1].Balance, ingress.Balance{
		Policy: ingress.BalanceRoundRobin, Panic: 50, Slow: 30 * time.Second, Failure: ingress.Statuses{{From: 500, To: 599}},
		Failures: 5, Eject: 10 * time.Second, Attempts: 3, Budget: 20,
	})
	same(t, "default port", set.Rules[1].Targets[1].Service.Text(), "ssh://y:22")
}

// TestMalformedServices: a file that the reference runs runs here, with the service that the reference uses; a pushed document is rejected.
func TestMalformedServices(t *testing.T) {
	for name, tc := range map[string]struct{ json, want string }{
		"not an address":     {`"services":["http://a","b"]`, "services: 1: b is an invalid address"},
		"service with path":  {`"services":["http://a/x"]`, "services: 0: http://a/x"},
		"no origin":          {`"services":["http_status:404"]`, "cannot be one of several origins"},
		"mixed kinds":        {`"services":["http://a","tcp://b:1"]`, "services: 1: tcp://b:1 is a byte stream"},
		"only backups":       {`"services":[{"service":"http://a","backup":true}]`, "all are backups"},
		"weight":             {`"services":[{"service":"http://a","weight":0}]`, "weight: 0 is not between 1 and 1000"},
		"policy":             {`"services":["http://a"],"balance":{"policy":"best"}`, `policy: "best" is none`},
		"hash key":           {`"services":["http://a"],"balance":{"hashBy":"header:"}`, "hashBy:"},
		"status":             {`"services":["http://a"],"balance":{"failureStatus":"5xx"}`, `failureStatus: "5xx" is not a status`},
		"check type":         {`"services":["http://a"],"balance":{"healthCheck":{"type":"ping"}}`, "healthCheck.type"},
		"check path":         {`"services":["http://a"],"balance":{"healthCheck":{"path":"up"}}`, "healthCheck.path"},
		"interval too short": {`"services":["http://a"],"balance":{"healthCheck":{"interval":"10ms"}}`, "interval: 10ms is less than 1s"},
		"interval of zero":   {`"services":["http://a"],"balance":{"healthCheck":{"interval":0}}`, "healthCheck.interval: 0s is less than 1s"},
		"panic":              {`"services":["http://a"],"balance":{"panicThreshold":101}`, "panicThreshold: 101"},
		"attempts":           {`"services":["http://a"],"balance":{"retry":{"attempts":0}}`, "retry.attempts: 0"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := ingress.ParseJSON([]byte(`{"ingress":[{"service":"http://stock","originRequest":{},` + tc.json + `}]}`))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ingress.CompileRemote(doc); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("pushed: %v, want %q", err, tc.want)
			}
			set, err := ingress.Compile(doc)
			if err != nil {
				t.Fatalf("local: %v", err)
			}
			const fallback = "only the service http://stock is used"
			if w := strings.Join(set.Warnings(), " "); !strings.Contains(w, tc.want) || !strings.Contains(w, fallback) {
				t.Errorf("warnings %q, want %q", w, tc.want)
			}
			if r := set.Rules[0]; len(r.Targets) != 0 || r.Service.Text() != "http://stock" {
				t.Errorf("rule %+v, want the reference's service alone", r)
			}
			doc.Ingress[0].Service = ""
			var fault *ingress.RuleError
			if _, err := ingress.Compile(doc); !errors.As(err, &fault) {
				t.Errorf("without a service to fall back to: %v", err)
			}
		})
	}
}

func TestUnknownKeysOfOurOwnAreNoticed(t *testing.T) {
	for _, text := range []string{
		`{"ingress":[{"service":"http://a","services":["http://a"],"balance":{"polcy":"hash"}}]}`,
		`{"ingress":[{"service":"http://a","services":[{"service":"http://a","wait":1}]}]}`,
		`{"ingress":[{"service":"http://a","services":[7]}]}`,
	} {
		if _, err := ingress.ParseJSON([]byte(text)); err == nil {
			t.Errorf("%s: accepted", text)
		}
	}
}
