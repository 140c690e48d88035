package command

import (
	"errors"
	"fmt"
	"io/fs"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/pkg/link"
)

func (c *commands) linkCerts() *urfave.Command {
	return &urfave.Command{
		Name: "link-certs", Usage: "write the certificates of the link between workers and proxies into DIR",
		ArgsUsage: "DIR", OnUsageError: usageError,
		Action: func(ctx *urfave.Context) error {
			if ctx.NArg() != 1 {
				return errors.New("link-certs needs one argument, the directory to write into")
			}
			dir := ctx.Args().First()
			err := link.WriteTLS(dir)
			if errors.Is(err, fs.ErrExist) {
				_, _, err = link.LoadTLS(dir) // made before; they must still be usable
			}
			if err != nil {
				return fmt.Errorf("link certificates in %s: %w", dir, err)
			}
			c.println("link certificates are in", dir)
			return nil
		},
	}
}
