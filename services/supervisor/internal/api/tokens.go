package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// tokensFor is how long the tokens count that were read of the store: so long a revoked one may still be taken.
	tokensFor = time.Second
	// usedEvery is how often the last use of a token is noted.
	usedEvery = time.Minute
)

// What package ops asks of an authority, for callers that know only this package.
type (
	// Principal is who makes a request.
	Principal = ops.Principal
	// Scope is what a request needs.
	Scope = opsapi.Scope
)

// tokenCache is the tokens as they were read last. While the store is unavailable they stay.
type tokenCache struct {
	mu    sync.Mutex
	known bool
	at    time.Time
	list  []opstoken.Token
	noted map[string]time.Time
}

// get is what was read, and whether it still counts.
func (t *tokenCache) get(now time.Time) (list []opstoken.Token, known, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list, t.known, t.known && now.Sub(t.at) < tokensFor
}

func (t *tokenCache) set(list []opstoken.Token, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list, t.known, t.at = list, true, now
}

// outdate makes the next request read the store.
func (t *tokenCache) outdate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at = time.Time{}
}

// due reports whether the use of a token has to be noted, and takes it as noted.
func (t *tokenCache) due(id string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.noted[id]) < usedEvery {
		return false
	}
	if t.noted == nil || len(t.noted) >= opstoken.Max {
		t.noted = map[string]time.Time{}
	}
	t.noted[id] = now
	return true
}

func (a *API) tokenList(ctx context.Context) ([]opstoken.Token, error) {
	now := time.Now()
	list, known, fresh := a.tokens.get(now)
	if fresh {
		return list, nil
	}
	read, err := a.Records.Tokens(ctx)
	switch {
	case err == nil:
		a.tokens.set(read, now)
		return read, nil
	case known:
		return list, nil
	}
	return nil, err
}

// Principal is whose token it is; false if it is none, has expired or was revoked.
func (a *API) Principal(ctx context.Context, text string) (Principal, bool, error) {
	given, err := opstoken.ParseToken(text)
	if err != nil || a.Records == nil {
		return Principal{}, false, nil //nolint:nilerr // what has not the form of a token is none
	}
	list, err := a.tokenList(ctx)
	if err != nil {
		return Principal{}, false, err
	}
	now := time.Now()
	for _, t := range list {
		if !t.Match(given, now) {
			continue
		}
		if a.tokens.due(t.ID, now) {
			_ = a.Records.UseToken(ctx, t.ID, now) // without a store its use is not noted
		}
		return Principal{Name: t.Name, Token: t.ID, Scope: t.Scope}, true, nil
	}
	return Principal{}, false, nil
}

// Guarded reports whether there are tokens. While that is not known there may be some.
func (a *API) Guarded(ctx context.Context) bool {
	if a.Records == nil {
		return false
	}
	list, err := a.tokenList(ctx)
	return err != nil || len(list) > 0
}

// Scope is what a route needs.
func (a *API) Scope(method, route string) (Scope, bool) {
	o, found := opsapi.Find(method, route)
	return o.Scope, found
}

// recorded refuses an operation that needs the store's records where there are none.
func (a *API) recorded() error {
	if a.Records == nil {
		return echo.NewHTTPError(http.StatusNotImplemented, "this supervisor keeps no tokens and no journals")
	}
	return nil
}

func infoOf(t opstoken.Token) opsapi.TokenInfo {
	return opsapi.TokenInfo{ID: t.ID, Name: t.Name, Scope: t.Scope, Created: t.Created, Expires: t.Expires, Used: t.Used, Author: t.Author}
}

func (a *API) listTokens(c echo.Context) error {
	win, err := windowOf(c)
	if err != nil {
		return err
	}
	if err := a.recorded(); err != nil {
		return err
	}
	list, err := a.Records.Tokens(c.Request().Context())
	if err != nil {
		return err
	}
	page, next := opsapi.Cut(list, func(t opstoken.Token) string { return t.ID }, win)
	out := opsapi.Tokens{Items: []opsapi.TokenInfo{}, Page: opsapi.Page{NextCursor: next}}
	for _, t := range page {
		out.Items = append(out.Items, infoOf(t))
	}
	return c.JSON(http.StatusOK, out)
}

func (a *API) createToken(c echo.Context) error {
	if err := a.recorded(); err != nil {
		return err
	}
	wanted, err := newToken(c)
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	made, secret, err := opstoken.New(wanted, time.Now(), rand.Reader)
	if err != nil {
		return badRequest(err)
	}
	list, err := a.Records.Tokens(ctx)
	if err != nil {
		return err
	}
	switch {
	case len(list) >= opstoken.Max:
		return fmt.Errorf("token %q: %w: there are %d already, the most there may be", wanted.Name, tunnel.ErrConflict, len(list))
	case slices.ContainsFunc(list, func(t opstoken.Token) bool { return t.Name == wanted.Name }):
		return fmt.Errorf("token %q: %w: there is one of this name", wanted.Name, tunnel.ErrConflict)
	}
	if err := a.Records.PutToken(ctx, made); err != nil {
		return err
	}
	a.tokens.outdate()
	a.Logger.InfoContext(ctx, "token of the ops API made", slog.String(logkey.Name, made.Name), slog.String(logkey.Kind, string(made.Scope)))
	note(c, nil, infoOf(made))
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.JSON(http.StatusCreated, opsapi.MadeToken{TokenInfo: infoOf(made), Token: string([]byte(secret))})
}

// newToken reads the request for a token.
func newToken(c echo.Context) (opstoken.Wanted, error) {
	b, err := bodyOf(c)
	if err != nil {
		return opstoken.Wanted{}, err
	}
	var in opsapi.NewToken
	if err := json.Unmarshal(b, &in); err != nil {
		return opstoken.Wanted{}, badRequest(err)
	}
	w := opstoken.Wanted{Name: in.Name, Scope: in.Scope, Author: in.Author}
	if err := desired.CheckAuthor(in.Author); err != nil {
		return w, badRequest(err)
	}
	if in.Expires != "" {
		w.Life, err = time.ParseDuration(in.Expires)
		if err == nil && w.Life <= 0 {
			err = errors.New("is not positive")
		}
		if err != nil {
			return w, badRequest(fmt.Errorf("expires_in: %q is not a duration such as 720h", in.Expires))
		}
	}
	return w, nil
}

func (a *API) revokeToken(c echo.Context) error {
	if err := a.recorded(); err != nil {
		return err
	}
	id, err := param(c, "id")
	if err != nil {
		return err
	}
	ctx := c.Request().Context()
	list, err := a.Records.Tokens(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(t opstoken.Token) bool { return t.ID == id })
	if i < 0 {
		return fmt.Errorf("token %q: %w", id, tunnel.ErrNotFound)
	}
	if _, err := a.Records.RemoveToken(ctx, id); err != nil {
		return err
	}
	a.tokens.outdate()
	a.Logger.InfoContext(ctx, "token of the ops API revoked", slog.String(logkey.Name, list[i].Name))
	note(c, infoOf(list[i]), nil)
	return c.NoContent(http.StatusNoContent)
}
