package command

import (
	"fmt"
	"runtime"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/process"
)

func (c *commands) version() *urfave.Command {
	return &urfave.Command{
		Name: "version", Usage: "print the version", OnUsageError: console.UsageError,
		Flags: []urfave.Flag{&urfave.BoolFlag{Name: "short", Aliases: []string{"s"}, Usage: "print just the version number"}},
		Action: func(ctx *urfave.Context) error {
			if ctx.Bool("short") {
				c.Println(process.Version())
				return nil
			}
			c.Println(fmt.Sprintf("%s version %s (%s %s/%s)", c.Host.Name(), process.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
			return nil
		},
	}
}
