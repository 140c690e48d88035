package access

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

const (
	teamMark    = "{team}"
	teamDomain  = ".cloudflareaccess.com"
	environment = "fed"
	teamKeys    = "/cdn-cgi/access/certs"
	discovery   = "/.well-known/openid-configuration"
)

// Config is the section access of the proxy's settings.
type Config struct {
	Issuer  string        `yaml:"issuer" usage:"https URL of the issuer of access tokens in place of the vendor's; {team} stands for teamName"`
	CAFile  string        `yaml:"ca_file" usage:"PEM file with further roots for the certificates of issuers"`
	Leeway  time.Duration `yaml:"leeway" usage:"how long after its expiry an access token is accepted"`
	Refresh time.Duration `yaml:"refresh" usage:"age of an issuer's keys at which they are fetched again in the background"`
}

// Default holds the defaults of Config.
func Default() Config { return Config{Leeway: 30 * time.Second, Refresh: time.Hour} }

// Validate reports every problem, each with its path.
func (c Config) Validate() error {
	var errs []error
	if c.Issuer != "" {
		if err := checkIssuer(strings.ReplaceAll(c.Issuer, teamMark, "team")); err != nil {
			errs = append(errs, fmt.Errorf("access: issuer: %w", err))
		}
	}
	if c.Leeway < 0 {
		errs = append(errs, fmt.Errorf("access: leeway: %s is negative", c.Leeway))
	}
	if c.Refresh < time.Minute {
		errs = append(errs, fmt.Errorf("access: refresh: %s is less than 1m", c.Refresh))
	}
	return errors.Join(errs...)
}

// checkIssuer accepts an https URL: keys that come in cleartext could be anyone's.
func checkIssuer(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	if u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is not an https URL of an issuer", u.Redacted())
	}
	return nil
}

// source is where the keys of an issuer are. Exactly one of keys and discovery is set.
type source struct {
	issuer    string // what tokens must say, to the byte
	keys      string // URL of the key set
	discovery string // URL of the issuer's metadata, which name the key set
}

// sourceOf finds the issuer of a rule: its own, else that of the settings, else the vendor's for the team.
func sourceOf(a *ingress.Access, byDefault string) (source, error) {
	issuer := a.Issuer
	if issuer == "" {
		issuer = strings.ReplaceAll(byDefault, teamMark, url.PathEscape(a.TeamName))
	}
	if issuer != "" {
		if err := checkIssuer(issuer); err != nil {
			return source{}, fmt.Errorf("access.issuer: %w", err)
		}
		return source{issuer: issuer, discovery: strings.TrimSuffix(issuer, "/") + discovery}, nil
	}
	if a.TeamName == "" {
		return source{}, errors.New("access has neither a teamName nor an issuer")
	}
	issuer = "https://" + a.TeamName
	if a.Environment == environment {
		issuer += "." + environment
	}
	issuer += teamDomain
	if err := checkIssuer(issuer); err != nil || strings.ContainsAny(a.TeamName, "/@:?# ") {
		return source{}, fmt.Errorf("access.teamName: %q is not a team name", a.TeamName)
	}
	return source{issuer: issuer, keys: issuer + teamKeys}, nil
}
