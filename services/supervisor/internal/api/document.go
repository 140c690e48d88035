package api

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/opsapi"
)

var (
	//go:embed docs.html
	docsPage string
	//go:embed docs.css
	docsStyle []byte
)

// docsPolicy lets the page load its own style and nothing else.
const docsPolicy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (a *API) openAPI(c echo.Context) error {
	b, err := opsapi.OpenAPI(opsapi.Operations())
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "application/json", b)
}

// docs responds with the operations as a page without scripts. It needs no other server.
func (a *API) docs(c echo.Context) error {
	page, err := template.New("docs").Funcs(template.FuncMap{"lower": strings.ToLower}).Parse(docsPage)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := page.Execute(&out, opsapi.Pages(opsapi.Operations())); err != nil {
		return err
	}
	secure(c)
	return c.HTMLBlob(http.StatusOK, out.Bytes())
}

func (a *API) style(c echo.Context) error {
	secure(c)
	return c.Blob(http.StatusOK, "text/css; charset=utf-8", docsStyle)
}

func secure(c echo.Context) {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", docsPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}
