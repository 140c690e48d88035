package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/services/supervisor/opsclient"
)

const (
	// envelope is how much longer a request may be than its document, in bytes.
	envelope = 4 << 10
	noKey    = "this supervisor keeps no versions of configurations: config_key_file names no file"
)

// keyed is the tunnel of a request about its configurations, if this supervisor keeps any.
func (s *Service) keyed(c echo.Context) (tunnel.ID, error) {
	if s.configs == nil || s.key == nil {
		return tunnel.ID{}, echo.NewHTTPError(http.StatusNotImplemented, noKey)
	}
	return tunnelOf(c)
}

func (s *Service) configurations(c echo.Context) error {
	id, err := s.keyed(c)
	if err != nil {
		return err
	}
	return s.showConfigurations(c, id)
}

// showConfigurations responds with the versions of a tunnel.
func (s *Service) showConfigurations(c echo.Context, id tunnel.ID) error {
	ctx := c.Request().Context()
	h, err := s.configs.RuleHistory(ctx, id)
	if err != nil {
		return err
	}
	proxies, err := s.configs.Proxies(ctx)
	if errors.Is(err, tunnel.ErrUnavailable) {
		return err
	}
	registered := make([]string, len(proxies))
	for i, p := range proxies {
		registered[i] = string(p.ID)
	}
	out := opsclient.Configurations{Tunnel: id, Versions: []rules.Head{}, Proxies: []opsclient.ProxyResult{}, Damaged: h.Damaged}
	for _, v := range h.Versions {
		out.Versions = append(out.Versions, v.Head)
	}
	if newest, found := h.Newest(); found {
		for _, r := range h.Of(registered) {
			out.Proxies = append(out.Proxies, opsclient.ProxyResult{Result: r, State: r.State(newest.Position)})
		}
	}
	return c.JSON(http.StatusOK, out)
}

// configuration responds with a version and its document. It is no GET, so that it is guarded like a change: documents may hold
// passwords.
func (s *Service) configuration(c echo.Context) error {
	id, err := s.keyed(c)
	if err != nil {
		return err
	}
	b, err := bodyOf(c)
	if err != nil {
		return err
	}
	var wanted opsclient.DocumentRequest
	if err := json.Unmarshal(b, &wanted); err != nil {
		return badRequest(err)
	}
	v, document, err := s.document(c, id, wanted.Version)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, opsclient.Configuration{Tunnel: id, Head: v.Head, Config: document})
}

// document reads a version and opens its document; 0 is the newest.
func (s *Service) document(c echo.Context, id tunnel.ID, number uint64) (v rules.Stored, document []byte, err error) {
	h, err := s.configs.Rules(c.Request().Context(), id, number)
	if err != nil {
		return v, nil, err
	}
	find := h.Newest
	if number != 0 {
		find = func() (rules.Stored, bool) { return h.Find(number) }
	}
	v, found := find()
	if !found {
		return v, nil, fmt.Errorf("version %d of tunnel %s: %w", number, id, tunnel.ErrNotFound)
	}
	document, err = s.key.Open(id, v.Sealed)
	if err != nil {
		return v, nil, echo.NewHTTPError(http.StatusConflict, fmt.Sprintf("version %d of tunnel %s: %v", v.Number, id, err))
	}
	return v, document, nil
}

// validate checks a document like a proxy does before it starts the services. What only the proxy's host can tell, such as a
// missing file, is the proxy's result.
func validate(change rules.Change) error {
	if change.Restore != 0 {
		return nil
	}
	d, err := ingress.ParseJSON(change.Document)
	if err == nil {
		_, err = ingress.CompileRemote(d)
	}
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

func (s *Service) setConfiguration(c echo.Context) error {
	ctx := c.Request().Context()
	id, err := s.keyed(c)
	if err != nil {
		return err
	}
	b, err := readBody(c, rules.MaxDocument+envelope)
	if err != nil {
		return err
	}
	change, err := rules.ParseChange(b)
	if err != nil {
		return badRequest(err)
	}
	document := []byte(change.Document)
	if err := validate(change); err != nil {
		return badRequest(err)
	}
	if change.Restore != 0 {
		if _, document, err = s.document(c, id, change.Restore); err != nil {
			return err
		}
	}
	number, err := s.configs.PutRules(ctx, id, *change.Version, rules.Stored{
		Head:   rules.Head{Author: change.Author, Hash: s.key.Hash(document), RestoredFrom: change.Restore},
		Sealed: s.key.Seal(id, document),
	})
	if err != nil {
		return err
	}
	_ = s.store.Hint(ctx, lease.TopicRules) // a proxy that misses it looks within seconds
	s.log.InfoContext(ctx, "configuration of a tunnel changed", slog.String(logkey.TunnelID, id.String()), slog.Uint64(logkey.Number, number),
		slog.String(logkey.Author, change.Author))
	return s.showConfigurations(c, id)
}
