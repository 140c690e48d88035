package command

import (
	"errors"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

func (c *commands) healthcheck() *urfave.Command {
	return &urfave.Command{
		Name: "healthcheck", Usage: "request a URL; exit code 0 if the response is 200", OnUsageError: console.UsageError,
		Flags: []urfave.Flag{&urfave.StringFlag{Name: "url", Usage: "`URL` to ask, such as http://127.0.0.1:20241/ready"}},
		Action: func(ctx *urfave.Context) error {
			url := ctx.String("url")
			if url == "" {
				return errors.New("healthcheck needs --url")
			}
			return process.Health(ctx.Context, url)
		},
	}
}
