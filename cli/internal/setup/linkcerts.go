package setup

import (
	"errors"
	"fmt"
	"io/fs"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/link"
)

// LinkCerts makes the certificates with which workers and proxies prove themselves to each other.
func LinkCerts(c console.Console) *urfave.Command {
	return &urfave.Command{
		Name: "link-certs", Usage: "write the certificates of the link between workers and proxies into DIR",
		ArgsUsage: "DIR", OnUsageError: console.UsageError,
		Action: func(ctx *urfave.Context) error {
			if ctx.NArg() != 1 {
				return errors.New("link-certs needs one argument, the directory to write into")
			}
			dir := ctx.Args().First()
			err := link.WriteTLS(dir)
			if errors.Is(err, fs.ErrExist) {
				_, _, err = link.LoadTLS(dir, nil) // made before; they must still be usable
			}
			if err != nil {
				return fmt.Errorf("link certificates in %s: %w", dir, err)
			}
			c.Println("link certificates are in", dir)
			return nil
		},
	}
}
