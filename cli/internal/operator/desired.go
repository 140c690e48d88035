package operator

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/opsclient"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	// changeTries is how often a document is changed that others change at the same time.
	changeTries = 5
	// resultEvery is the interval of polls for the result of a command.
	resultEvery = 100 * time.Millisecond
)

// Supervisor are the commands against a supervisor.
func (c Commands) Supervisor() []*urfave.Command {
	author := &urfave.StringFlag{Name: "author", Usage: "who makes the change (default: the user)"}
	command := []urfave.Flag{
		author,
		&urfave.StringFlag{Name: "id", Usage: "`ID` of the command: sent again with it, it is not carried out again (default: a new one)"},
		&urfave.Uint64Flag{Name: "epoch", Usage: "only if the slot has this `EPOCH` (default: the present one)"},
		&urfave.DurationFlag{Name: "wait", Value: desired.DefaultTTL, Usage: "`TIME` in which the command has to be carried out"},
	}
	return append(c.deployment(), []*urfave.Command{
		{
			Name: "desired", Usage: "show and change what is desired of tunnels while they run", Action: console.Fallback,
			OnUsageError: console.UsageError,
			Subcommands: []*urfave.Command{
				c.supervisorCommand("show", "show what is desired of all tunnels, or of one", "[TUNNEL]", 0, 1, c.showDesired),
				c.supervisorCommand("set", "change what is desired of a tunnel; what no flag names stays", "TUNNEL", 1, 1, c.setDesired,
					append([]urfave.Flag{author}, desiredFlags()...)...),
			},
		},
		c.versions(),
		c.tokens(),
		c.supervisorCommand("reconnect", "end a connection and make it again", "TUNNEL INDEX", 2, 2, c.reconnect, command...),
		c.supervisorCommand("move", "make a connection elsewhere, then end the old one", "TUNNEL INDEX", 2, 2, c.move, append(
			[]urfave.Flag{
				&urfave.StringFlag{Name: "worker", Usage: "`WORKER` that gets the connection (default: the best other one)"},
				&urfave.StringFlag{Name: "address", Usage: "edge address `IP:PORT` (default: a free one)"},
			}, command...)...),
		c.supervisorCommand("drain", "move the connections of a worker to others; it gets no new ones until undrain", "WORKER", 1, 1,
			func(ctx *urfave.Context, api *opsclient.Client) error { return c.mark(ctx, api, true) }, author),
		c.supervisorCommand("undrain", "let a worker have connections again", "WORKER", 1, 1,
			func(ctx *urfave.Context, api *opsclient.Client) error { return c.mark(ctx, api, false) }, author),
	}...)
}

func desiredFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.IntFlag{Name: "connections", Usage: "`NUMBER` of connections, 1 to 255"},
		&urfave.StringFlag{Name: "protocol", Usage: "`PROTOCOL` of the connections: auto, quic or http2"},
		&urfave.StringFlag{Name: "pool", Usage: "`NAME` of the edge pool"},
		&urfave.BoolFlag{Name: "paused", Usage: "end all connections gracefully, and make none; --paused=false resumes"},
		&urfave.StringSliceFlag{Name: "weight", Usage: "`WORKER=N` or host/HOST=N, repeatable: share of the connections, 0 to 100 (default: 1)"},
		&urfave.StringSliceFlag{Name: "unset", Usage: "`FIELD` that is as the workers' settings say again: connections, protocol, pool, " +
			"weights or all"},
		&urfave.Uint64Flag{Name: "if-version", Usage: "only if the document has this `VERSION`", DefaultText: "whatever it has"},
	}
}

func (c Commands) showDesired(ctx *urfave.Context, api *opsclient.Client) error {
	all, err := api.Desired(ctx.Context)
	if err != nil {
		return err
	}
	if ref := ctx.Args().First(); ref != "" {
		id, err := c.tunnelOf(ctx.Context, ref)
		if err != nil {
			return err
		}
		one, err := api.Tunnel(ctx.Context, id)
		if err != nil {
			return err
		}
		return c.showTunnels(ctx, one, []opsclient.Tunnel{one}, nil)
	}
	return c.showTunnels(ctx, all, all.Tunnels, all.Workers)
}

// showTunnels prints v, as text the documents and the marks.
func (c Commands) showTunnels(ctx *urfave.Context, v any, tunnels []opsclient.Tunnel, workers []opsclient.Worker) error {
	const head = "SUBJECT\tVERSION\tDESIRED\tAUTHOR\tCHANGED"
	return c.table(ctx, v, head, func(w *tabwriter.Writer) {
		for _, t := range tunnels {
			_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", t.ID, t.Version, specText(t.Spec), t.Author, timeText(t.Changed))
		}
		for _, k := range workers {
			state := "serves"
			if k.Drained {
				state = "drained"
			}
			_, _ = fmt.Fprintf(w, "worker %s\t%d\t%s\t%s\t%s\n", k.ID, k.Version, state, k.Author, timeText(k.Changed))
		}
	})
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// specText is a spec on one line.
func specText(s desired.Spec) string {
	b, err := json.Marshal(s)
	if err != nil || string(b) == "{}" {
		return "as the workers' settings say"
	}
	return string(b)
}

// setDesired changes the fields that the flags name. When somebody else changes the document at the same time, the change is made again
// from theirs.
func (c Commands) setDesired(ctx *urfave.Context, api *opsclient.Client) error {
	id, err := c.tunnelOf(ctx.Context, ctx.Args().First())
	if err != nil {
		return err
	}
	for range changeTries {
		now, err := api.Tunnel(ctx.Context, id)
		if err != nil {
			return err
		}
		version := now.Version
		if ctx.IsSet("if-version") {
			version = ctx.Uint64("if-version")
		}
		spec, err := changed(ctx, now.Spec)
		if err != nil {
			return err
		}
		set, err := api.SetTunnel(ctx.Context, id, desired.Change{Version: &version, Author: c.authorOf(ctx), Spec: spec})
		if errors.Is(err, tunnel.ErrConflict) && !ctx.IsSet("if-version") {
			continue
		}
		if err != nil {
			return err
		}
		return c.showTunnels(ctx, set, []opsclient.Tunnel{set}, nil)
	}
	return fmt.Errorf("the document of tunnel %s changes all the time", id)
}

// changed is the spec with the changes of the flags.
func changed(ctx *urfave.Context, s desired.Spec) (desired.Spec, error) {
	s.Weights = maps.Clone(s.Weights)
	fields := map[string]func(){
		"connections": func() { s.Connections = 0 }, "protocol": func() { s.Protocol = "" }, "pool": func() { s.Pool = nil },
		"weights": func() { s.Weights = nil }, "all": func() { s = desired.Spec{} },
	}
	for _, field := range ctx.StringSlice("unset") {
		if fields[field] == nil {
			return s, fmt.Errorf("--unset %q is none of all, connections, pool, protocol, weights", field)
		}
		fields[field]()
	}
	if ctx.IsSet("connections") {
		if s.Connections = ctx.Int("connections"); s.Connections == 0 {
			return s, errors.New("--connections 0 is not between 1 and 255; --paused ends all connections")
		}
	}
	if ctx.IsSet("protocol") {
		s.Protocol = ctx.String("protocol")
	}
	if ctx.IsSet("pool") {
		pool := ctx.String("pool")
		s.Pool = &pool
	}
	if ctx.IsSet("paused") {
		s.Paused = ctx.Bool("paused")
	}
	for _, text := range ctx.StringSlice("weight") {
		worker, number, found := strings.Cut(text, "=")
		n, err := strconv.Atoi(number)
		if !found || err != nil {
			return s, fmt.Errorf("--weight %q is not WORKER=NUMBER", text)
		}
		if s.Weights == nil {
			s.Weights = map[string]int{}
		}
		s.Weights[worker] = n
	}
	return s, s.Validate()
}

func (c Commands) authorOf(ctx *urfave.Context) string {
	if ctx.IsSet("author") {
		return ctx.String("author")
	}
	return c.author()
}

func (c Commands) reconnect(ctx *urfave.Context, api *opsclient.Client) error {
	return c.send(ctx, api, desired.Command{Kind: desired.Reconnect})
}

func (c Commands) move(ctx *urfave.Context, api *opsclient.Client) error {
	command := desired.Command{Kind: desired.Move, Worker: tunnel.WorkerID(ctx.String("worker"))}
	if text := ctx.String("address"); text != "" {
		address, err := netip.ParseAddrPort(text)
		if err != nil {
			return fmt.Errorf("--address %q is not IP:PORT", text)
		}
		command.Edge = address
	}
	return c.send(ctx, api, command)
}

// send completes a command by the arguments and flags, sends it, and waits for its result. Anything but done is an error.
func (c Commands) send(ctx *urfave.Context, api *opsclient.Client, command desired.Command) error {
	id, err := c.tunnelOf(ctx.Context, ctx.Args().Get(0))
	if err != nil {
		return err
	}
	index, err := strconv.ParseUint(ctx.Args().Get(1), 10, 8)
	if err != nil {
		return fmt.Errorf("index %q is not a number from 0 to 254", ctx.Args().Get(1))
	}
	command.ID, command.Tunnel, command.Index, command.Author = ctx.String("id"), id, tunnel.ConnIndex(index), c.authorOf(ctx)
	if command.ID == "" {
		command.ID = newCommandID()
	}
	if command.Epoch = tunnel.Epoch(ctx.Uint64("epoch")); command.Epoch == 0 {
		if command.Epoch, err = epochOf(ctx, api, id, command.Index); err != nil {
			return err
		}
	}
	status, err := api.Submit(ctx.Context, command, ctx.Duration("wait"))
	tick := time.NewTicker(resultEvery)
	defer tick.Stop()
	for err == nil && status.Outcome == desired.Pending {
		select {
		case <-ctx.Done():
			return fmt.Errorf("command %s: %w", command.ID, ctx.Err())
		case <-tick.C:
		}
		status, err = api.Command(ctx.Context, command.ID)
	}
	if err != nil {
		return fmt.Errorf("command %s: %w", command.ID, err)
	}
	if err := c.table(ctx, status, "COMMAND\tOUTCOME\tDETAIL", func(w *tabwriter.Writer) {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", status.ID, status.Outcome, status.Detail)
	}); err != nil || status.Outcome == desired.Done {
		return err
	}
	return fmt.Errorf("command %s: %s", status.ID, strings.TrimSuffix(string(status.Outcome)+": "+status.Detail, ": "))
}

// epochOf is the present epoch of a slot. A command that is sent again with its id names its epoch by --epoch.
func epochOf(ctx *urfave.Context, api *opsclient.Client, id tunnel.ID, index tunnel.ConnIndex) (tunnel.Epoch, error) {
	if known := ctx.String("id"); known != "" {
		if before, err := api.Command(ctx.Context, known); err == nil {
			return before.Epoch, nil
		}
	}
	slots, err := api.Slots(ctx.Context, id)
	if err != nil {
		return 0, err
	}
	for _, r := range slots.Slots {
		if r.Slot.Index == index {
			return r.Epoch, nil
		}
	}
	return 0, fmt.Errorf("slot %d of tunnel %s: %w", index, id, tunnel.ErrNotFound)
}

func (c Commands) mark(ctx *urfave.Context, api *opsclient.Client, drained bool) error {
	worker := tunnel.WorkerID(ctx.Args().First())
	marked, err := api.Drain(ctx.Context, worker, desired.MarkChange{Drained: &drained, Author: c.authorOf(ctx)})
	if err != nil {
		return err
	}
	return c.showTunnels(ctx, marked, nil, []opsclient.Worker{marked})
}
