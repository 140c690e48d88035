package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

const (
	fetchTimeout = 10 * time.Second
	maxDocument  = 1 << 20 // bytes of a key set, and of an issuer's metadata
	maxRedirects = 3
)

// Dial opens a connection to an issuer, as far as the local policy allows.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Keyring holds the keys of all issuers that rules name.
type Keyring struct {
	cfg     Config
	client  *http.Client
	fetches sync.WaitGroup
	ctx     context.Context //nolint:containedctx // the life of the ring, which ends the fetches of its goroutines
	stop    context.CancelFunc

	fetched, failed                       prometheus.Counter
	passed, missing, refused, unavailable prometheus.Counter

	mu   sync.Mutex
	sets map[source]*keySet
}

// New makes a ring without keys, which asks issuers whose certificates chain to roots. reg may be nil.
func New(cfg Config, dial Dial, roots *x509.CertPool, reg prometheus.Registerer) *Keyring {
	ctx, stop := context.WithCancel(context.Background())
	t := &http.Transport{
		DialContext: dial, TLSHandshakeTimeout: fetchTimeout, MaxResponseHeaderBytes: maxDocument, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}
	f := promauto.With(reg)
	fetches := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_access_key_fetches_total", Help: "Fetches of the keys of an issuer of access tokens.",
	}, []string{"result"})
	checks := f.NewCounterVec(prometheus.CounterOpts{
		Name: "culvert_proxy_access_checks_total", Help: "Requests to rules that demand an access token.",
	}, []string{"result"})
	return &Keyring{
		cfg: cfg, ctx: ctx, stop: stop, sets: map[source]*keySet{},
		client:  &http.Client{Transport: t, CheckRedirect: checkRedirect},
		fetched: fetches.WithLabelValues("ok"), failed: fetches.WithLabelValues("failed"),
		passed: checks.WithLabelValues("ok"), missing: checks.WithLabelValues("no_token"),
		refused: checks.WithLabelValues("refused"), unavailable: checks.WithLabelValues("no_keys"),
	}
}

// Close ends fetches that are under way and waits for them.
func (r *Keyring) Close() {
	r.stop()
	r.fetches.Wait()
}

// Guard makes the guard of a rule. It refuses every request if the settings name no issuer that can be asked, or no audience, or if there
// is no ring.
func (r *Keyring) Guard(a ingress.Access) *Guard {
	if r == nil {
		return &Guard{broken: errors.New("access tokens cannot be checked: there are no keys")}
	}
	src, err := sourceOf(&a, r.cfg.Issuer)
	if err == nil && len(a.AudTag) == 0 {
		err = errors.New("access has no audTag")
	}
	if err != nil {
		return &Guard{ring: r, broken: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	set, ok := r.sets[src]
	if !ok {
		set = &keySet{ring: r, src: src}
		r.sets[src] = set
	}
	return &Guard{ring: r, keys: set, audiences: a.AudTag}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects || req.URL.Scheme != "https" {
		return errors.New("too many redirects, or one that leaves https")
	}
	return nil
}

// fetch gets the keys of an issuer.
func (r *Keyring) fetch(src source) ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(r.ctx, fetchTimeout)
	defer cancel()
	keys, err := r.fetchKeys(ctx, src)
	if err != nil {
		r.failed.Inc()
		return nil, err
	}
	r.fetched.Inc()
	return keys, nil
}

func (r *Keyring) fetchKeys(ctx context.Context, src source) ([]jose.JSONWebKey, error) {
	from := src.keys
	if src.discovery != "" {
		var about struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := r.get(ctx, src.discovery, &about); err != nil {
			return nil, err
		}
		if about.Issuer != src.issuer {
			return nil, fmt.Errorf("%s is the metadata of another issuer: %q", src.discovery, about.Issuer)
		}
		if u, err := url.Parse(about.Keys); err != nil || u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("%s: jwks_uri is not an https URL", src.discovery)
		}
		from = about.Keys
	}
	var set keyDocument
	if err := r.get(ctx, from, &set); err != nil {
		return nil, err
	}
	keys := set.usable()
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no usable keys", from)
	}
	return keys, nil
}

// keyDocument is a JSON Web Key Set. The keys are decoded one by one: one of an unknown kind must not hide the others.
type keyDocument struct {
	Keys []json.RawMessage `json:"keys"`
}

func (d *keyDocument) usable() []jose.JSONWebKey {
	out := make([]jose.JSONWebKey, 0, len(d.Keys))
	for _, raw := range d.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(raw) == nil && k.Valid() && k.IsPublic() {
			out = append(out, k)
		}
	}
	return out
}

// get reads a JSON document.
func (r *Keyring) get(ctx context.Context, from string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := r.client.Do(req)
	if err != nil {
		return err // names the URL
	}
	defer func() { _ = res.Body.Close() }() // read as far as it is wanted
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d", from, res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	if err != nil {
		return fmt.Errorf("GET %s: %w", from, err)
	}
	if len(b) > maxDocument {
		return fmt.Errorf("GET %s: more than %d bytes", from, maxDocument)
	}
	if err := json.Unmarshal(b, into); err != nil {
		kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")) // for the message alone
		return fmt.Errorf("GET %s: not the JSON document expected (content type %q)", from, kind)
	}
	return nil
}
