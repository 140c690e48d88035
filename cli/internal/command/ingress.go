package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
)

// The texts that operators of the reference know (docs/spec/ingress.md 3.1, 3.2).
var (
	errNoConfigFile = errors.New("No configuration file was found. Please create one, " + //nolint:staticcheck // the reference's text
		"or use the --config flag to specify its filepath. You can use the help command to learn more about configuration files")
	errRuleArgument = errors.New("cloudflared tunnel rule expects a single argument, the URL to test")
)

const jsonVariable = "TUNNEL_INGRESS_VALIDATE_JSON"

func (c *commands) ingress() *urfave.Command {
	return &urfave.Command{
		Name: "ingress", Usage: "check ingress rules", Action: console.Fallback, OnUsageError: console.UsageError,
		Subcommands: []*urfave.Command{
			{
				Name: "validate", Usage: "validate the ingress rules of the configuration file", OnUsageError: console.UsageError,
				Flags: append(c.connectorFlags(true),
					&urfave.StringFlag{Name: "json", Aliases: []string{"j"}, Usage: "rules as JSON `TEXT` instead of the file [$" + jsonVariable + "]"}),
				Action: c.validateIngress,
			},
			{
				Name: "rule", Usage: "show which rule a URL matches", ArgsUsage: "URL", OnUsageError: console.UsageError,
				Flags: append(c.connectorFlags(true),
					&urfave.BoolFlag{Name: "explain", Usage: "say why each earlier rule does not match, and what the origin gets"},
					&urfave.StringFlag{Name: "method", Value: http.MethodGet, Usage: "method of the request, for rules with match"},
					&urfave.StringSliceFlag{Name: "header", Usage: "header of the request, NAME: VALUE, for rules with match"}),
				Action: c.matchIngress,
			},
		},
	}
}

// rulesDocument reads the document that the commands work on, and says where it came from.
func (c *commands) rulesDocument(text string) (doc ingress.Document, file *cfdfile.File, err error) {
	if text != "" {
		doc, err = ingress.ParseJSON([]byte(text))
		return doc, nil, err
	}
	s, err := c.flagsOnly()
	if err != nil {
		return doc, nil, err
	}
	file, err = connector.ReadFile(s.Text("config"), c.Home())
	if err != nil {
		return doc, nil, err
	}
	return file.Document, file, nil
}

func (c *commands) validateIngress(ctx *urfave.Context) error {
	text := ctx.String("json")
	if text == "" {
		text = c.Env(jsonVariable)
	}
	if text != "" {
		c.Println("Validating rules from cmdline flag --json")
	}
	doc, file, err := c.rulesDocument(text)
	if errors.Is(err, connector.ErrNoFile) {
		return errNoConfigFile
	}
	if err != nil {
		return err
	}
	if file != nil {
		c.Println("Validating rules from", file.Path)
	}
	set, err := ingress.Compile(doc)
	if err != nil {
		return validationError(err)
	}
	s, err := c.resolve(file)
	if err != nil {
		return err
	}
	if s.IsSet("url") {
		return ingress.ErrURLConflict
	}
	for _, w := range set.Warnings() { // what `tunnel run` logs
		c.Println("Warning:", w)
	}
	if file != nil && len(file.UnusedKeys) > 0 {
		c.Println("Warning: unused keys detected in your config file. Here is a list of unused keys:")
		c.Println(strings.Join(file.UnusedKeys, "\n"))
		return nil
	}
	c.Println("OK")
	return nil
}

func (c *commands) matchIngress(ctx *urfave.Context) error {
	if ctx.NArg() != 1 {
		return errRuleArgument
	}
	doc, file, err := c.rulesDocument("")
	if err != nil && !errors.Is(err, connector.ErrNoFile) {
		return err
	}
	u, badURL := targetURL(ctx.Args().First())
	if badURL == nil { // scripts read standard output, so nothing is printed before a malformed URL is reported
		path := ""
		if file != nil {
			path = file.Path
		}
		c.Println("Using rules from", path)
	}
	set, err := ingress.Compile(doc)
	if err != nil {
		return validationError(err)
	}
	if badURL != nil {
		return badURL
	}
	request, err := triedRequest(u, ctx.String("method"), ctx.StringSlice("header"))
	if err != nil {
		return err
	}
	rule, index := set.MatchRequest(request)
	c.Println(fmt.Sprintf("Matched rule #%d", index))
	c.Println(rule.Text())
	if ctx.Bool("explain") {
		c.explain(ctx.Context, set, request)
	}
	return nil
}

// targetURL parses the URL that rules are tried with.
func targetURL(target string) (*url.URL, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("%s is not a valid URL", target)
	}
	if u.Host == "" && u.Scheme == "" {
		return nil, fmt.Errorf("%s doesn't have a hostname, consider adding a scheme", target)
	}
	return u, nil
}

// triedRequest is a request for a URL, whose scheme may be that of a websocket.
func triedRequest(u *url.URL, method string, headers []string) (*ingress.Request, error) {
	r := ingress.Get(u.Host, u.Path)
	r.Method, r.Query, r.Header = method, u.RawQuery, http.Header{}
	secure := "https"
	if u.Scheme == "http" || u.Scheme == "ws" {
		secure = "http"
	}
	r.Port = ingress.Port(u.Host, secure)
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("--header %q is not NAME: VALUE", h)
		}
		http.Header(r.Header).Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	switch {
	case u.Scheme == "ws" || u.Scheme == "wss":
		r.Protocol = ingress.ProtocolWebSocket
	case strings.HasPrefix(http.Header(r.Header).Get("Content-Type"), "application/grpc"):
		r.Protocol = ingress.ProtocolGRPC
	}
	return r, nil
}

// validationError is the error text of the reference, with the place of the fault unless the text contains it.
func validationError(err error) error {
	return fmt.Errorf("Validation failed: %w", err) //nolint:staticcheck // the reference's text
}
