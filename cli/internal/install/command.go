package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
)

// Commands are service install, service uninstall, and update, which packages do. config gives the configuration file that a flag
// before the command names.
func Commands(c console.Console, config func() (string, error)) []*urfave.Command {
	root := &urfave.StringFlag{Name: "root", Usage: "work in the file system below `DIR` and start nothing, to prepare an image"}
	with := func(do func(ctx *urfave.Context, i Installer) error) urfave.ActionFunc {
		return func(ctx *urfave.Context) error {
			i, err := installer(c, ctx.String("root"), config)
			if err != nil {
				return err
			}
			return do(ctx, i)
		}
	}
	return []*urfave.Command{
		{
			Name: "service", Usage: "make the connector a service of this host", OnUsageError: console.UsageError,
			Action: func(ctx *urfave.Context) error {
				if ctx.Args().Present() {
					return console.Fallback(ctx)
				}
				return errors.New("nothing to do: service install [TOKEN] or service uninstall")
			},
			Subcommands: []*urfave.Command{
				{
					Name: "install", ArgsUsage: "[TOKEN]", OnUsageError: console.UsageError,
					Usage: "install and start the service: with the run token, which goes into a file that only root reads, or else with the " +
						"configuration file",
					Flags: []urfave.Flag{root, &urfave.BoolFlag{Name: "no-update-service", Usage: "no effect: there is no update service"}},
					Action: with(func(ctx *urfave.Context, i Installer) error {
						if ctx.NArg() > 1 {
							return errors.New("service install accepts only one argument, the token")
						}
						return i.Install(ctx.Context, ctx.Args().First())
					}),
				},
				{
					Name: "uninstall", Usage: "stop the service and remove it and its token", OnUsageError: console.UsageError,
					Flags:  []urfave.Flag{root},
					Action: with(func(ctx *urfave.Context, i Installer) error { return i.Uninstall(ctx.Context) }),
				},
			},
		},
		update(c),
	}
}

func installer(c console.Console, root string, config func() (string, error)) (Installer, error) {
	program, err := os.Executable()
	if err != nil {
		return Installer{}, fmt.Errorf("path of this program: %w", err)
	}
	path, err := config()
	if err != nil {
		return Installer{}, err
	}
	if root != "" {
		if root, err = filepath.Abs(root); err != nil {
			return Installer{}, err
		}
	}
	return Installer{Root: root, Name: c.Host.Name(), Program: program, Config: path, Home: c.Home(), Say: c.Println}, nil
}

// update exists since scripts and timers call it.
func update(c console.Console) *urfave.Command {
	return &urfave.Command{
		Name: "update", Usage: "say how this program is updated", OnUsageError: console.UsageError,
		Flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "beta", Usage: "no effect"},
			&urfave.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "no effect", Hidden: true},
			&urfave.BoolFlag{Name: "staging", Usage: "no effect", Hidden: true},
			&urfave.StringFlag{Name: "version", Usage: "no effect"},
		},
		Action: func(*urfave.Context) error {
			c.Println("nothing to do: this program is updated by the package or image that it came with")
			return nil
		},
	}
}
