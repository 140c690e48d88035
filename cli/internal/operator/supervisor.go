package operator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/pkg/opsclient"
	"github.com/culvert-tunnel/culvert/pkg/process"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	supervisorTimeout = 15 * time.Second
	lookTimeout       = 2 * time.Second
)

// supervisors are the addresses at which a supervisor of this machine may listen: alone, or as a part of up and of tunnel run.
func supervisors() []string {
	return []string{
		"http://" + process.OpsSupervisor, "http://127.0.0.1:20241", "http://127.0.0.1:20242", "http://127.0.0.1:20243", "http://127.0.0.1:20244",
		"http://127.0.0.1:20245",
	}
}

// supervisorFlags say which supervisor is meant.
func supervisorFlags(more ...urfave.Flag) []urfave.Flag {
	return append([]urfave.Flag{
		&urfave.StringFlag{Name: "supervisor", Usage: "private listener of a supervisor, or of up or tunnel run: http(s)://HOST:PORT (default: " +
			"the first one on this machine, ports 8102 and 20241 to 20245) [$CULVERT_SUPERVISOR]"},
		&urfave.StringFlag{Name: "supervisor-token-file", Usage: "`FILE` with the bearer token of that listener " +
			"[$CULVERT_SUPERVISOR_TOKEN_FILE]"},
		&urfave.StringFlag{Name: "context", Usage: "`NAME` of the deployment, of culvert context, unless --supervisor is given " +
			"[$CULVERT_CONTEXT]"},
		outputFlag(),
	}, more...)
}

// supervisorCommand is one command against the API of a supervisor. Flags may stand before, between and after the arguments.
func (c Commands) supervisorCommand(
	name, usage, args string, least, most int, run func(ctx *urfave.Context, api *opsclient.Client) error, flags ...urfave.Flag,
) *urfave.Command {
	return &urfave.Command{
		Name: name, Usage: usage, ArgsUsage: args, OnUsageError: console.UsageError, Flags: supervisorFlags(flags...),
		Action: func(ctx *urfave.Context) error {
			ctx, err := interleaved(ctx)
			if err != nil {
				return err
			}
			if n := ctx.NArg(); n < least || n > most {
				return fmt.Errorf("%s needs: %s", ctx.Command.HelpName, args)
			}
			if !ctx.Bool("watch") && !ctx.Bool("follow") { // those end when they are interrupted
				bounded, cancel := context.WithTimeout(ctx.Context, supervisorTimeout+ctx.Duration("wait"))
				defer cancel()
				ctx.Context = bounded
			}
			return c.withSupervisor(ctx, run)
		},
	}
}

func (c Commands) withSupervisor(ctx *urfave.Context, run func(ctx *urfave.Context, api *opsclient.Client) error) error {
	var token tunnel.Secret
	address := c.Option(ctx, "supervisor", "CULVERT_SUPERVISOR")
	path := c.Option(ctx, "supervisor-token-file", "CULVERT_SUPERVISOR_TOKEN_FILE")
	if address == "" {
		chosen, found, err := c.chosenContext(ctx)
		if err != nil {
			return err
		}
		if found {
			address = chosen.Supervisor
			if path == "" {
				path = chosen.TokenFile
			}
		}
	}
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("token file: %w", err)
		}
		token = tunnel.Secret(strings.TrimSpace(string(b)))
	}
	if address == "" && len(token) > 0 {
		return errors.New("--supervisor-token-file needs --supervisor: a token is not sent to whatever listens on this machine")
	}
	if address == "" {
		var err error
		if address, err = find(ctx.Context); err != nil {
			return err
		}
	}
	used := address
	if len(token) == 0 {
		used = ops.LocalSocket(ctx.Context, address) // changes without a token are taken there only
	}
	api, err := opsclient.Dial(used, token)
	if err != nil {
		return err
	}
	defer api.Close()
	if err := run(ctx, api); err != nil {
		return fmt.Errorf("%w (supervisor at %s)", err, address)
	}
	return nil
}

// find looks for a supervisor on this machine. A listener without one, such as that of another program, is passed over.
func find(ctx context.Context) (address string, err error) {
	for _, address := range supervisors() {
		api, err := opsclient.Dial(address, nil)
		if err != nil {
			return "", err
		}
		bounded, cancel := context.WithTimeout(ctx, lookTimeout)
		_, err = api.Desired(bounded)
		cancel()
		api.Close()
		var problem *ops.Problem
		if err == nil || errors.As(err, &problem) && errors.Is(err, tunnel.ErrUnavailable) {
			return address, nil
		}
	}
	return "", errors.New("no supervisor was found on this machine: --supervisor names its private listener (ops.listen, or --metrics of up " +
		"and tunnel run)")
}

// tunnelOf is the tunnel that an argument names: by its id, or by its name at the edge of this machine.
func (c Commands) tunnelOf(ctx context.Context, ref string) (tunnel.ID, error) {
	if id, err := tunnel.ParseID(ref); err == nil {
		return id, nil
	}
	id, err := c.TunnelID(ctx, ref)
	if err != nil {
		return id, fmt.Errorf("tunnel %q is no id, and its name is known only to the edge: %w", ref, err)
	}
	return id, nil
}

// author is who a change is said to be from.
func (c Commands) author() string {
	for _, name := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if user := c.Env(name); user != "" {
			return user
		}
	}
	return ""
}

// newCommandID names a command that has no name.
func newCommandID() string { return strings.ToLower(rand.Text()) }
