package command

import (
	"fmt"
	"runtime"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/pkg/process"
)

func (c *commands) version() *urfave.Command {
	return &urfave.Command{
		Name: "version", Usage: "print the version", OnUsageError: usageError,
		Action: func(*urfave.Context) error {
			c.println(fmt.Sprintf("culvert version %s (%s %s/%s)", process.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
			return nil
		},
	}
}
