package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// match is the version that a change was made from as If-Match says it.
type match struct {
	given   bool
	version uint64
}

// matchOf reads If-Match. "*" and lists are not supported: a change is made from one version.
func matchOf(c echo.Context) (match, error) {
	text := strings.TrimSpace(c.Request().Header.Get("If-Match"))
	if text == "" {
		return match{}, nil
	}
	inner, err := strconv.Unquote(text)
	version, err2 := strconv.ParseUint(inner, 10, 63)
	if err != nil || err2 != nil || !strings.HasPrefix(text, `"`) {
		return match{}, badRequest(fmt.Errorf("If-Match: %q is not the ETag of a version, such as \"7\"", text))
	}
	return match{given: true, version: version}, nil
}

// changeOf reads the body of a change, at most one byte more than most, with the version of If-Match in it.
func changeOf(c echo.Context, most int64) ([]byte, match, error) {
	b, err := readBody(c, most)
	if err != nil {
		return nil, match{}, err
	}
	m, err := matchOf(c)
	if err != nil {
		return nil, match{}, err
	}
	if b, err = m.into(b); err != nil {
		return nil, match{}, badRequest(err)
	}
	return b, m, nil
}

// into writes the version into the body of a change that has none.
func (m match) into(body []byte) ([]byte, error) {
	if !m.given {
		return body, nil
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, fmt.Errorf("change: %w", err)
	}
	if fields == nil {
		return nil, errors.New("change: the document is empty")
	}
	text := strconv.FormatUint(m.version, 10)
	if has, found := fields["version"]; found && string(has) != text {
		return nil, fmt.Errorf("version: is %s, and If-Match says %s", has, text)
	}
	fields["version"] = json.RawMessage(text)
	return json.Marshal(fields)
}

// failure is the error of a change: a conflict is a failed precondition if there was one.
func (m match) failure(err error) error {
	if m.given && errors.Is(err, tunnel.ErrConflict) {
		return echo.NewHTTPError(http.StatusPreconditionFailed, err.Error())
	}
	return err
}
