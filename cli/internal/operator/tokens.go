package operator

import (
	"fmt"
	"text/tabwriter"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/opsclient"
)

// tokens is the tree of culvert token.
func (c Commands) tokens() *urfave.Command {
	return &urfave.Command{
		Name: "token", Usage: "make, list and revoke tokens of the ops API", Action: console.Fallback, OnUsageError: console.UsageError,
		Subcommands: []*urfave.Command{
			c.supervisorCommand("create", "make a token and print it; it is shown once and kept nowhere", "NAME", 1, 1, c.createToken,
				&urfave.StringFlag{Name: "scope", Value: "read", Usage: "read, operate (drain, move, pause) or admin (configurations, tokens)"},
				&urfave.DurationFlag{Name: "expires", Usage: "`TIME` that it lives, such as 720h", DefaultText: "for ever"},
				&urfave.StringFlag{Name: "author", Usage: "who makes it (default: the user)"}),
			c.supervisorCommand("list", "list the tokens, without their secrets", "", 0, 0, c.listTokens),
			c.supervisorCommand("revoke", "revoke a token; no supervisor takes it a second later", "ID", 1, 1, c.revokeToken),
		},
	}
}

func (c Commands) createToken(ctx *urfave.Context, api *opsclient.Client) error {
	wanted := opsclient.NewToken{Name: ctx.Args().First(), Author: c.authorOf(ctx)}
	if err := wanted.Scope.UnmarshalText([]byte(ctx.String("scope"))); err != nil {
		return fmt.Errorf("--scope: %w", err)
	}
	if life := ctx.Duration("expires"); life != 0 {
		wanted.Expires = life.String()
	}
	made, err := api.CreateToken(ctx.Context, wanted)
	if err != nil {
		return err
	}
	if ctx.String("output") == "text" {
		c.Println(made.Token)
		return nil
	}
	return c.table(ctx, made, "", func(*tabwriter.Writer) {})
}

func (c Commands) listTokens(ctx *urfave.Context, api *opsclient.Client) error {
	var all []opsclient.TokenInfo
	for cursor := ""; ; {
		page, err := api.Tokens(ctx.Context, cursor)
		if err != nil {
			return err
		}
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	return c.table(ctx, all, "ID\tNAME\tSCOPE\tMADE\tEXPIRES\tLAST USED\tAUTHOR", func(w *tabwriter.Writer) {
		for _, t := range all {
			state := timeText(t.Expires)
			if !t.Expires.IsZero() && time.Now().After(t.Expires) {
				state += " (expired)"
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, t.Scope, timeText(t.Created), state, timeText(t.Used), t.Author)
		}
	})
}

func (c Commands) revokeToken(ctx *urfave.Context, api *opsclient.Client) error {
	return api.RevokeToken(ctx.Context, ctx.Args().First())
}
