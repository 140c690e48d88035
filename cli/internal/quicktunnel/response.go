package quicktunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// response is the JSON object of the service; the names are the contract.
type response struct {
	Success bool `json:"success"`
	Result  struct {
		ID         string `json:"id"`
		Hostname   string `json:"hostname"`
		AccountTag string `json:"account_tag"`
		Secret     []byte `json:"secret"`
	} `json:"result"`
	Errors []struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"errors"`
}

// Tunnel is a tunnel that a quick service has made.
type Tunnel struct {
	Credentials tunnel.Credentials
	// Hostname is the public name, as the service wrote it.
	Hostname string
}

// URL is the public address for people: https is put in front of a bare name (docs/spec/lifecycle.md 11.4).
func (t Tunnel) URL() string {
	if strings.HasPrefix(t.Hostname, "https://") {
		return t.Hostname
	}
	return "https://" + t.Hostname
}

// errNotJSON marks a body that is no JSON: an error page of something between here and the service.
var errNotJSON = errors.New("failed to unmarshal quick Tunnel")

// parse reads the body of a response. Without a usable tunnel the error has the service's own reasons, if it gave any.
func parse(body []byte) (Tunnel, error) {
	var r response
	if err := json.Unmarshal(body, &r); err != nil {
		return Tunnel{}, fmt.Errorf("%w: %w", errNotJSON, err)
	}
	id, err := tunnel.ParseID(r.Result.ID)
	if reasons := r.reasons(); err != nil && reasons != nil {
		return Tunnel{}, reasons
	}
	if err != nil {
		return Tunnel{}, fmt.Errorf("failed to parse quick Tunnel ID: %w", err)
	}
	return Tunnel{
		Credentials: tunnel.Credentials{AccountTag: r.Result.AccountTag, Secret: r.Result.Secret, TunnelID: id},
		Hostname:    r.Result.Hostname,
	}, nil
}

// reasons is why the service refused, nil when it gave none.
func (r *response) reasons() error {
	var out []error
	for _, e := range r.Errors {
		out = append(out, fmt.Errorf("the quick service refused: %q (code %d)", e.Message, e.Code))
	}
	return errors.Join(out...)
}

// Box draws a frame around lines, two blanks from their text, as the reference logs it.
func Box(lines ...string) []string {
	const pad = 2
	width := 0
	for _, line := range lines {
		width = max(width, utf8.RuneCountInString(line))
	}
	border := "+" + strings.Repeat("-", width+2*pad) + "+"
	out := []string{border}
	for _, line := range lines {
		rest := strings.Repeat(" ", width-utf8.RuneCountInString(line)+pad)
		out = append(out, "|"+strings.Repeat(" ", pad)+line+rest+"|")
	}
	return append(out, border)
}
