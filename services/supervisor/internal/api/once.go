package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// runningFor is how long a request with a key may run before the key is free again; settledFor is how long its response is kept.
	runningFor = time.Minute
	settledFor = 24 * time.Hour
	maxKey     = 128
	// maxKept bounds a response that is kept, in bytes.
	maxKept = 256 << 10
)

// settled is a request with a key, as the store keeps it; without a status it runs.
type settled struct {
	Body   string `json:"body"` // hash of the request's body
	Status int    `json:"status,omitempty"`
	Type   string `json:"type,omitempty"`
	Tag    string `json:"tag,omitempty"`
	Reply  []byte `json:"reply,omitempty"`
}

// once carries a request with an Idempotency-Key out one time: the same request gets the same response again.
func (a *API) once(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			return next(c)
		}
		if len(key) > maxKey || strings.IndexFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			return badRequest(fmt.Errorf("Idempotency-Key: is not 1 to %d printable characters", maxKey))
		}
		body, err := readBody(c, rules.MaxDocument+envelope)
		if err != nil {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		who := ops.PrincipalOf(c)
		name, mine := sum(who.Token, who.Name, r.Method, r.URL.EscapedPath(), key), settled{Body: sum(string(body), r.Header.Get("If-Match"))}
		mark, err := json.Marshal(mine)
		if err != nil {
			return err
		}
		won, err := a.Records.Claim(r.Context(), name, string(mark), runningFor)
		if err != nil {
			return err
		}
		if !won {
			return a.again(c, name, mine)
		}
		return a.first(c, next, name, mine)
	}
}

// sum names a list of texts.
func sum(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(t), t) // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))
}

// again responds to a request whose key was used before.
func (a *API) again(c echo.Context, name string, mine settled) error {
	text, err := a.Records.Claimed(c.Request().Context(), name)
	if err != nil && !errors.Is(err, tunnel.ErrNotFound) {
		return err
	}
	var theirs settled
	if err == nil {
		err = json.Unmarshal([]byte(text), &theirs)
	}
	switch {
	case err == nil && theirs.Body != mine.Body:
		return echo.NewHTTPError(http.StatusUnprocessableEntity, "Idempotency-Key: was used for a request with another body")
	case err != nil || theirs.Status == 0:
		c.Response().Header().Set("Retry-After", "1")
		return fmt.Errorf("request: %w: the first one with this Idempotency-Key still runs", tunnel.ErrConflict)
	}
	h := c.Response().Header()
	h.Set("Idempotency-Replayed", "true")
	if theirs.Tag != "" {
		h.Set("ETag", theirs.Tag)
	}
	return c.Blob(theirs.Status, theirs.Type, theirs.Reply)
}

// first carries the request out, and keeps its response unless the server failed.
func (a *API) first(c echo.Context, next echo.HandlerFunc, name string, mine settled) error {
	t := &tee{ResponseWriter: c.Response().Writer}
	c.Response().Writer = t
	if err := next(c); err != nil {
		c.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), journalTimeout)
	defer cancel()
	mine.Status, mine.Type, mine.Tag = c.Response().Status, t.Header().Get("Content-Type"), t.Header().Get("ETag")
	mine.Reply = t.kept.Bytes()
	text, err := json.Marshal(mine)
	if err != nil || mine.Status >= http.StatusInternalServerError || t.over {
		_ = a.Records.Unclaim(ctx, name) // it runs out by itself
		return nil
	}
	_ = a.Records.Settle(ctx, name, string(text), settledFor) // a second request waits for the mark to run out then
	return nil
}

// tee keeps a copy of a response.
type tee struct {
	http.ResponseWriter
	kept bytes.Buffer
	over bool
}

func (t *tee) Write(b []byte) (int, error) {
	if t.kept.Len()+len(b) > maxKept {
		t.over = true
	} else {
		_, _ = t.kept.Write(b) // a buffer takes everything
	}
	return t.ResponseWriter.Write(b)
}
