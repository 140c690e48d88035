package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/management"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/edge/internal/atomicfile"
)

const (
	managementFile = "management-key.pem"
	// tokenLife is how long an access token is valid.
	tokenLife = time.Hour
	// issuer names this kind of edge in tokens.
	issuer = "culvert-edge"
)

// Errors of Authorize. Their texts are for clients.
var (
	ErrNoToken       = errors.New("missing access_token query parameter")
	ErrTokenRefused  = errors.New("access_token is not valid at this edge")
	ErrTokenResource = errors.New("access_token is for another resource")
	ErrConnectorID   = errors.New("connector_id is not the id of a connector")
)

// Management signs and checks the access tokens of the management service (docs/spec/lifecycle.md 10.6).
type Management struct {
	hosts []string
	now   func() time.Time
	key   *ecdsa.PrivateKey
	text  string // of the public key
}

// OpenManagement reads the key of a data directory, and creates it if there is none. hostname is a host of the service besides those of
// the reference.
func OpenManagement(dir, hostname string, now func() time.Time) (*Management, error) {
	m := &Management{now: now, hosts: []string{management.Host, management.FedHost}}
	if name := strings.ToLower(strings.TrimSuffix(hostname, ".")); name != "" {
		m.hosts = append(m.hosts, name)
	}
	path := filepath.Join(dir, managementFile)
	b, err := filewatch.ReadRegular(path, filewatch.DefaultMaxBytes)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = createManagementKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("management key: %w", err)
	}
	if m.key, err = parseManagementKey(b); err != nil {
		return nil, fmt.Errorf("management key: %s: %w", path, err)
	}
	m.text, err = management.KeyText(&m.key.PublicKey)
	return m, err
}

func createManagementKey(path string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	b := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return b, atomicfile.Write(path, b, os.FileMode(0o600))
}

func parseManagementKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not a key of the curve P-256; move the file away to have a new one made")
	}
	return key, nil
}

// Hosts are the hosts of the service, in lower case.
func (m *Management) Hosts() []string { return slices.Clone(m.hosts) }

// IsHost reports whether a canonical host is the service's.
func (m *Management) IsHost(host string) bool { return slices.Contains(m.hosts, host) }

// Key is the public key as it travels to connectors (docs/extensions.md).
func (m *Management) Key() string { return m.text }

// Token makes an access token with which an actor may use a resource of a tunnel's connectors, and says until when.
func (m *Management) Token(id tunnel.ID, account, actor, resource string) (text string, expires time.Time, err error) {
	now := m.now()
	expires = now.Add(tokenLife)
	resources := []string{resource}
	if resource == management.ResourceLogs {
		resources = append(resources, "ping")
	}
	claims := &management.Claims{
		Tunnel: management.TokenTunnel{ID: id.String(), AccountTag: account}, Actor: management.Actor{ID: actor}, Resources: resources,
	}
	claims.SetLife(issuer, now, expires)
	text, err = management.Sign(claims, m.key)
	return text, expires, err
}

// Authorize checks the token of a request for a path of the service, and says which tunnel is meant and which of its connectors; without
// a choice of the client the connector is zero.
func (m *Management) Authorize(path, rawQuery string) (id tunnel.ID, connector tunnel.ConnectorID, err error) {
	query, _ := url.ParseQuery(rawQuery) // what can be read of it counts
	text := query.Get(management.TokenParameter)
	if text == "" {
		return id, connector, ErrNoToken
	}
	claims, err := management.CheckToken(text, &m.key.PublicKey, m.now())
	if err != nil {
		return id, connector, ErrTokenRefused
	}
	if !claims.Allows(path) {
		return id, connector, ErrTokenResource
	}
	if id, err = tunnel.ParseID(claims.Tunnel.ID); err != nil {
		return id, connector, ErrTokenRefused
	}
	if c := query.Get(management.ConnectorParameter); c != "" {
		if connector, err = tunnel.ParseConnectorID(c); err != nil {
			return id, connector, ErrConnectorID
		}
	}
	return id, connector, nil
}
