package operator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"text/tabwriter"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
)

// deploymentContext says how a deployment is reached. It names the file of a token, and holds none.
type deploymentContext struct {
	Supervisor string `json:"supervisor"`
	TokenFile  string `json:"token_file,omitempty"`
}

// contextFile is the file with all contexts.
type contextFile struct {
	Current  string                       `json:"current,omitempty"`
	Contexts map[string]deploymentContext `json:"contexts"`
}

var contextName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// contextPath is the file with the contexts.
func (c Commands) contextPath() string {
	if path := c.Env("CULVERT_CONTEXTS"); path != "" {
		return path
	}
	return c.ExpandHome("~/.culvert/contexts.json")
}

func (c Commands) readContexts() (contextFile, error) {
	out := contextFile{Contexts: map[string]deploymentContext{}}
	b, err := os.ReadFile(c.contextPath())
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("contexts: %w", err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("contexts: %s: %w", c.contextPath(), err)
	}
	return out, nil
}

// writeContexts replaces the file in one step.
func (c Commands) writeContexts(f contextFile) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	path := c.contextPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	return nil
}

// chosenContext is the context that --context, CULVERT_CONTEXT or the file's current one names; false if none does.
func (c Commands) chosenContext(ctx *urfave.Context) (deploymentContext, bool, error) {
	f, err := c.readContexts()
	if err != nil {
		return deploymentContext{}, false, err
	}
	name := c.Option(ctx, "context", "CULVERT_CONTEXT")
	if name == "" {
		name = f.Current
	}
	if name == "" {
		return deploymentContext{}, false, nil
	}
	chosen, found := f.Contexts[name]
	if !found {
		return deploymentContext{}, false, fmt.Errorf("context %q is not in %s: culvert context list shows those that are", name, c.contextPath())
	}
	return chosen, true, nil
}

// contexts is the tree of culvert context.
func (c Commands) contexts() *urfave.Command {
	type action func(ctx *urfave.Context, f contextFile) error
	command := func(name, usage, args string, want int, run action, flags ...urfave.Flag) *urfave.Command {
		return &urfave.Command{
			Name: name, Usage: usage, ArgsUsage: args, OnUsageError: console.UsageError, Flags: flags,
			Action: func(ctx *urfave.Context) error {
				ctx, err := interleaved(ctx)
				if err != nil {
					return err
				}
				if ctx.NArg() != want {
					return fmt.Errorf("%s needs: %s", ctx.Command.HelpName, args)
				}
				f, err := c.readContexts()
				if err != nil {
					return err
				}
				return run(ctx, f)
			},
		}
	}
	return &urfave.Command{
		Name: "context", Usage: "name deployments, so that commands find their supervisors", Action: console.Fallback,
		OnUsageError: console.UsageError,
		Subcommands: []*urfave.Command{
			command("add", "add or replace a context; the first one is the current one", "NAME", 1, c.addContext,
				&urfave.StringFlag{Name: "supervisor", Usage: "private listener of a supervisor: http(s)://HOST:PORT or unix:/PATH"},
				&urfave.StringFlag{Name: "supervisor-token-file", Usage: "`FILE` with the bearer token"}),
			command("use", "make a context the current one", "NAME", 1, func(ctx *urfave.Context, f contextFile) error {
				if f.Current = ctx.Args().First(); f.Contexts[f.Current].Supervisor == "" {
					return fmt.Errorf("context %q is not in %s", f.Current, c.contextPath())
				}
				return c.writeContexts(f)
			}),
			command("remove", "remove a context", "NAME", 1, func(ctx *urfave.Context, f contextFile) error {
				name := ctx.Args().First()
				if _, found := f.Contexts[name]; !found {
					return fmt.Errorf("context %q is not in %s", name, c.contextPath())
				}
				delete(f.Contexts, name)
				if f.Current == name {
					f.Current = ""
				}
				return c.writeContexts(f)
			}),
			command("list", "list the contexts", "", 0, func(ctx *urfave.Context, f contextFile) error {
				return c.table(ctx, f, "CURRENT\tNAME\tSUPERVISOR\tTOKEN FILE", func(w *tabwriter.Writer) {
					for _, name := range slices.Sorted(maps.Keys(f.Contexts)) {
						mark := ""
						if name == f.Current {
							mark = "*"
						}
						_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", mark, name, f.Contexts[name].Supervisor, f.Contexts[name].TokenFile)
					}
				})
			}, outputFlag()),
		},
	}
}

func (c Commands) addContext(ctx *urfave.Context, f contextFile) error {
	name, made := ctx.Args().First(), deploymentContext{Supervisor: ctx.String("supervisor"), TokenFile: ctx.String("supervisor-token-file")}
	if !contextName.MatchString(name) {
		return fmt.Errorf("name %q is not 1 to 64 letters, digits, dots, dashes and underscores", name)
	}
	if made.Supervisor == "" {
		return errors.New("--supervisor is missing")
	}
	if made.TokenFile != "" {
		path, err := filepath.Abs(c.ExpandHome(made.TokenFile))
		if err != nil {
			return fmt.Errorf("--supervisor-token-file: %w", err)
		}
		made.TokenFile = path
	}
	if f.Contexts == nil {
		f.Contexts = map[string]deploymentContext{}
	}
	f.Contexts[name] = made
	if f.Current == "" {
		f.Current = name
	}
	return c.writeContexts(f)
}
