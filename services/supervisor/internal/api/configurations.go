package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// envelope is how much longer a request may be than its document, in bytes.
	envelope = 4 << 10
	noKey    = "this supervisor keeps no versions of configurations: config_key_file names no file"
)

// keyed is the tunnel of a request about its configurations, if this supervisor keeps any.
func (a *API) keyed(c echo.Context) (tunnel.ID, error) {
	if a.Configurations == nil || a.Key == nil {
		return tunnel.ID{}, echo.NewHTTPError(http.StatusNotImplemented, noKey)
	}
	return tunnelOf(c)
}

func (a *API) configurations(c echo.Context) error {
	id, err := a.keyed(c)
	if err != nil {
		return err
	}
	return a.showConfigurations(c, id)
}

// showConfigurations responds with the versions of a tunnel.
func (a *API) showConfigurations(c echo.Context, id tunnel.ID) error {
	ctx := c.Request().Context()
	h, err := a.Configurations.RuleHistory(ctx, id)
	if err != nil {
		return err
	}
	proxies, err := a.Configurations.Proxies(ctx)
	if errors.Is(err, tunnel.ErrUnavailable) {
		return err
	}
	registered := make([]string, len(proxies))
	for i, p := range proxies {
		registered[i] = string(p.ID)
	}
	all, err := a.Configurations.RuleHistory(ctx, tunnel.ID{}) // the local rules for all tunnels
	if err != nil {
		return err
	}
	out := describe(id, h, all, registered)
	return tagged(c, out.Newest().Number, out)
}

// describe puts together the versions of a tunnel, the local rules for all tunnels among them, and what the proxies have in force.
func describe(id tunnel.ID, h, all rules.History, registered []string) opsapi.Configurations {
	out := opsapi.Configurations{
		Tunnel: id, Versions: []opsapi.Version{}, Proxies: []opsapi.ProxyResult{}, Damaged: slices.Concat(h.Damaged, all.Damaged),
	}
	general := map[string]rules.Result{}
	for _, r := range all.Results {
		general[r.Proxy] = r
		if len(registered) == 0 && !slices.ContainsFunc(h.Results, func(own rules.Result) bool { return own.Proxy == r.Proxy }) {
			h.Results = append(h.Results, rules.Result{Proxy: r.Proxy, InForce: rules.Local()}) // it has nothing of its own for the tunnel
		}
	}
	results := h.Of(registered)
	take := func(versions []rules.Stored, allTunnels bool) {
		for _, v := range versions {
			shown := opsapi.Version{Head: v.Head, AllTunnels: allTunnels}
			for _, r := range results {
				if v.At(r, general[r.Proxy]) {
					shown.InForceAt = append(shown.InForceAt, r.Proxy)
				}
			}
			out.Versions = append(out.Versions, shown)
		}
	}
	take(h.Versions, false)
	take(h.Notes, false)
	take(all.Notes, true)
	slices.SortStableFunc(out.Versions, func(a, b opsapi.Version) int { return cmp.Compare(a.Number, b.Number) })
	newest, found := h.Newest()
	for _, r := range results {
		p := opsapi.ProxyResult{Result: r}
		if found {
			p.State = r.State(newest.Position)
		}
		out.Proxies = append(out.Proxies, p)
	}
	return out
}

// configuration responds with a version and its document. It is no GET, so that it is guarded like a change: documents may hold
// passwords.
func (a *API) configuration(c echo.Context) error {
	id, err := a.keyed(c)
	if err != nil {
		return err
	}
	b, err := bodyOf(c)
	if err != nil {
		return err
	}
	var wanted opsapi.DocumentRequest
	if err := json.Unmarshal(b, &wanted); err != nil {
		return badRequest(err)
	}
	v, document, err := a.document(c, id, wanted.Version)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, opsapi.Configuration{Tunnel: id, Head: v.Head, Config: document})
}

// document reads a version and opens its document; 0 is the newest.
func (a *API) document(c echo.Context, id tunnel.ID, number uint64) (v rules.Stored, document []byte, err error) {
	h, err := a.Configurations.Rules(c.Request().Context(), id, number)
	if err != nil {
		return v, nil, err
	}
	v, found := h.Newest()
	of := id
	if number != 0 {
		v, found = h.Find(number)
	}
	if number != 0 && !found { // or of the local rules for all tunnels
		of = tunnel.ID{}
		if h, err = a.Configurations.Rules(c.Request().Context(), of, number); err != nil {
			return v, nil, err
		}
		v, found = h.Find(number)
	}
	if !found {
		return v, nil, fmt.Errorf("version %d of tunnel %s: %w", number, id, tunnel.ErrNotFound)
	}
	document, err = a.Key.Open(of, v.SealedFor(), v.Sealed)
	if err != nil {
		return v, nil, echo.NewHTTPError(http.StatusConflict, fmt.Sprintf("version %d of tunnel %s: %v", v.Number, id, err))
	}
	return v, document, nil
}

// check checks a document like a proxy does before it starts the services. What only the proxy's host can tell, such as a
// missing file, is the proxy's result.
func check(document []byte) error {
	d, err := ingress.ParseJSON(document)
	if err == nil {
		_, err = ingress.CompileRemote(d)
	}
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

func (a *API) setConfiguration(c echo.Context) error {
	id, err := a.keyed(c)
	if err != nil {
		return err
	}
	b, match, err := changeOf(c, rules.MaxDocument+envelope)
	if err != nil {
		return err
	}
	change, err := rules.ParseChange(b)
	if err != nil {
		return badRequest(err)
	}
	return a.putConfiguration(c, id, change, match)
}

// putConfiguration makes the next version of a tunnel's configuration.
func (a *API) putConfiguration(c echo.Context, id tunnel.ID, change rules.Change, match match) error {
	ctx := c.Request().Context()
	document := []byte(change.Document)
	var err error
	if change.Restore != 0 {
		_, document, err = a.document(c, id, change.Restore)
	} else if err = check(document); err != nil {
		err = badRequest(err)
	}
	if err != nil {
		return err
	}
	head := rules.Head{Author: change.Author, Hash: a.Key.Hash(document), RestoredFrom: change.Restore}
	number, err := a.Configurations.PutRules(ctx, id, *change.Version, head, func(at rules.Position) string {
		return a.Key.Seal(id, at, document)
	})
	if err != nil {
		return match.failure(err)
	}
	note(c, opsapi.DocumentRequest{Version: *change.Version}, rules.Head{
		Position: rules.Position{Number: number}, Author: change.Author, Hash: a.Key.Hash(document), RestoredFrom: change.Restore,
	})
	a.Emit(opsapi.Event{Kind: opsapi.EventConfiguration, Tunnel: &id, Version: number, Who: whoOf(c, change.Author)})
	_ = a.Store.Hint(ctx, lease.TopicRules) // a proxy that misses it looks within seconds
	a.Logger.InfoContext(ctx, "configuration of a tunnel changed", slog.String(logkey.TunnelID, id.String()),
		slog.Uint64(logkey.Number, number), slog.String(logkey.Author, change.Author))
	return a.showConfigurations(c, id)
}

func (a *API) rollback(c echo.Context) error {
	id, err := a.keyed(c)
	if err != nil {
		return err
	}
	b, match, err := changeOf(c, maxBody)
	if err != nil {
		return err
	}
	change, err := rules.ParseChange(b)
	switch {
	case err != nil:
		return badRequest(err)
	case change.Restore == 0:
		return badRequest(errors.New("restore: is missing"))
	}
	return a.putConfiguration(c, id, change, match)
}

// reseal seals the kept versions of a tunnel anew that are not under the first key.
func (a *API) reseal(c echo.Context) error {
	ctx := c.Request().Context()
	id, err := a.keyed(c)
	if err != nil {
		return err
	}
	heads, err := a.Configurations.RuleHistory(ctx, id)
	if err != nil {
		return err
	}
	out := opsapi.Resealed{Tunnel: id, Sealed: []uint64{}, Unreadable: []uint64{}}
	for _, head := range slices.Concat(heads.Versions, heads.Notes) {
		h, err := a.Configurations.Rules(ctx, id, head.Number)
		if err != nil {
			return err
		}
		v, found := h.Find(head.Number)
		if !found || a.Key.Current(v.Sealed) {
			continue // it has gone by now, or there is nothing to do
		}
		document, err := a.Key.Open(id, v.SealedFor(), v.Sealed)
		if err != nil {
			out.Unreadable = append(out.Unreadable, v.Number)
			continue
		}
		err = a.Configurations.ResealRules(ctx, id, v.Number, v.Sealed, a.Key.Seal(id, v.SealedFor(), document))
		switch {
		case errors.Is(err, tunnel.ErrConflict): // somebody else did it, or it has gone
		case err != nil:
			return err
		default:
			out.Sealed = append(out.Sealed, v.Number)
		}
	}
	a.Logger.InfoContext(ctx, "configurations of a tunnel sealed anew", slog.String(logkey.TunnelID, id.String()),
		slog.Any(logkey.Number, out.Sealed))
	return c.JSON(http.StatusOK, out)
}

// validate responds with what is wrong with a document.
func (a *API) validate(c echo.Context) error {
	if _, err := tunnelOf(c); err != nil {
		return err
	}
	b, err := readBody(c, rules.MaxDocument+envelope)
	if err != nil {
		return err
	}
	var wanted opsapi.ConfigurationCheck
	if err := json.Unmarshal(b, &wanted); err != nil {
		return badRequest(err)
	}
	if len(wanted.Config) == 0 || len(wanted.Config) > rules.MaxDocument {
		return badRequest(fmt.Errorf("config: %d bytes are not between 1 and %d", len(wanted.Config), rules.MaxDocument))
	}
	out := opsapi.Validation{Valid: true, Errors: []string{}}
	if err := check(wanted.Config); err != nil {
		out.Valid, out.Errors = false, strings.Split(err.Error(), "\n")
	}
	return c.JSON(http.StatusOK, out)
}

// diff compares two documents. It counts as a change, because they may hold passwords.
func (a *API) diff(c echo.Context) error {
	id, err := a.keyed(c)
	if err != nil {
		return err
	}
	b, err := readBody(c, rules.MaxDocument+envelope)
	if err != nil {
		return err
	}
	var wanted opsapi.DiffRequest
	if err := json.Unmarshal(b, &wanted); err != nil {
		return badRequest(err)
	}
	_, former, err := a.document(c, id, wanted.From)
	if err != nil {
		return err
	}
	latter := []byte(wanted.Config)
	if len(latter) == 0 {
		if _, latter, err = a.document(c, id, wanted.To); err != nil {
			return err
		}
	}
	text, err := rules.Diff(former, latter)
	if err != nil {
		return badRequest(err)
	}
	return c.JSON(http.StatusOK, opsapi.Difference{Tunnel: id, Same: text == "", Diff: text})
}
