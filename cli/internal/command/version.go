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
		Action: func(*urfave.Context) error {
			c.Println(fmt.Sprintf("%s version %s (%s %s/%s)", c.Host.Name(), process.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
			return nil
		},
	}
}
