package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/culvert-tunnel/culvert/pkg/opsclient"
)

// The exit codes of culvert status.
const (
	exitDegraded = 2
	exitDown     = 3
)

// watchEvery is how often status --watch looks.
const watchEvery = 2 * time.Second

// deployment are the commands that show a deployment.
func (c Commands) deployment() []*urfave.Command {
	watch := &urfave.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it again every two seconds, until it is interrupted"}
	events := c.supervisorCommand("events", "list what happened, the oldest first, or follow it", "", 0, 0, c.events,
		&urfave.IntFlag{Name: "limit", Value: 50, Usage: "the last `N` events, up to 10000"},
		&urfave.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with each event as it happens"})
	status := c.supervisorCommand("status", "show a deployment at a glance; exit code 0 for up, 2 for degraded, 3 for down, 1 for an error",
		"", 0, 0, c.status, watch)
	return []*urfave.Command{
		c.contexts(),
		status,
		c.supervisorCommand("tunnels", "list the tunnels of a deployment", "", 0, 0, c.showState),
		c.supervisorCommand("connections", "list the connections of a deployment: which index, worker and edge", "", 0, 0, c.showSlots),
		c.supervisorCommand("workers", "list the workers of a deployment", "", 0, 0, c.showWorkers),
		c.supervisorCommand("proxies", "list the proxies of a deployment", "", 0, 0, c.showProxies),
		events,
	}
}

// all reads all pages of a list.
func all[T any](ctx context.Context, page func(ctx context.Context, cursor string) (items []T, next string, err error)) ([]T, error) {
	out := []T{}
	for cursor := ""; ; {
		items, next, err := page(ctx, cursor)
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
		if cursor = next; cursor == "" {
			return out, nil
		}
	}
}

func tunnelsOf(ctx context.Context, api *opsclient.Client) ([]opsclient.TunnelState, error) {
	return all(ctx, func(ctx context.Context, cursor string) ([]opsclient.TunnelState, string, error) {
		p, err := api.Tunnels(ctx, cursor)
		return p.Items, p.NextCursor, err
	})
}

// overview is what culvert status prints.
type overview struct {
	opsclient.Status
	List []opsclient.TunnelState `json:"tunnel_list"`
}

func (c Commands) status(ctx *urfave.Context, api *opsclient.Client) error {
	for {
		var v overview
		var err error
		if v.Status, err = api.Status(ctx.Context); err == nil {
			v.List, err = tunnelsOf(ctx.Context, api)
		}
		if err != nil {
			return err
		}
		if err := c.showStatus(ctx, v); err != nil {
			return err
		}
		if !ctx.Bool("watch") {
			return c.exit(v)
		}
		again := time.NewTimer(watchEvery)
		select {
		case <-ctx.Done():
			again.Stop()
			return c.exit(v)
		case <-again.C:
		}
	}
}

// exit sets the exit code by the health.
func (c Commands) exit(v overview) error {
	code := map[string]int{"degraded": exitDegraded, "down": exitDown}[string(v.Health)]
	if code != 0 && c.Exit != nil {
		c.Exit(code)
	}
	return nil
}

// showStatus prints the health, what is wrong, and a line for each tunnel, as wide as the terminal is.
func (c Commands) showStatus(ctx *urfave.Context, v overview) error {
	if ctx.String("output") != "text" {
		return c.table(ctx, v, "", func(*tabwriter.Writer) {})
	}
	width, tty := c.terminal()
	var b strings.Builder
	if tty && ctx.Bool("watch") {
		b.WriteString("\x1b[H\x1b[2J")
	}
	paint := func(health, text string) string {
		color := map[string]string{"up": "32", "degraded": "33", "down": "31"}[health]
		if !tty || color == "" || c.Env("NO_COLOR") != "" {
			return text
		}
		return "\x1b[" + color + "m" + text + "\x1b[0m"
	}
	health := string(v.Health)
	fmt.Fprintf(&b, "%s  %d of %d connections, %d of %d tunnels up, %d workers, %d proxies\n", paint(health, strings.ToUpper(health)),
		v.Connected, v.Desired, v.Up, v.Tunnels, v.Workers, v.Proxies)
	if !v.StaleSince.IsZero() {
		fmt.Fprintln(&b, clip("as of "+v.StaleSince.Format(time.RFC3339)+": the store is unavailable", width))
	}
	for _, reason := range v.Reasons {
		fmt.Fprintln(&b, clip("  "+reason, width))
	}
	if len(v.List) > 0 {
		fmt.Fprintf(&b, "\n%-36s  %-8s  %-5s  %s\n", "TUNNEL", "HEALTH", "CONNS", "WORKERS")
	}
	for _, t := range v.List {
		workers := make([]string, len(t.Workers))
		for i, w := range t.Workers {
			workers[i] = string(w)
		}
		const before = 36 + 2 + 8 + 2 + 5 + 2
		h := string(t.Health)
		fmt.Fprintf(&b, "%-36s  %s  %-5s  %s\n", t.ID, paint(h, fmt.Sprintf("%-8s", h)), strconv.Itoa(t.Connected)+"/"+strconv.Itoa(t.Desired),
			clip(strings.Join(workers, " "), width-before))
	}
	_, err := io.WriteString(c.Host.Stdout, b.String())
	return err
}

// terminal is the width of standard output, and whether it is a terminal.
func (c Commands) terminal() (width int, tty bool) {
	const unlimited = 1 << 20
	f, ok := c.Host.Stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return unlimited, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return unlimited, true
	}
	return width, true
}

// clip cuts text to a width.
func clip(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= max(width, 1) {
		return text
	}
	return string(runes[:max(width, 1)-1]) + "…"
}

func (c Commands) showState(ctx *urfave.Context, api *opsclient.Client) error {
	list, err := tunnelsOf(ctx.Context, api)
	if err != nil {
		return err
	}
	return c.table(ctx, list, "TUNNEL\tHEALTH\tCONNECTED\tDESIRED\tPOOL\tWORKERS", func(w *tabwriter.Writer) {
		for _, t := range list {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%d\n", t.ID, t.Health, t.Connected, t.Desired, t.Pool, len(t.Workers))
		}
	})
}

func (c Commands) showSlots(ctx *urfave.Context, api *opsclient.Client) error {
	list, err := all(ctx.Context, func(ctx context.Context, cursor string) ([]opsclient.SlotState, string, error) {
		p, err := api.AllSlots(ctx, cursor)
		return p.Items, p.NextCursor, err
	})
	if err != nil {
		return err
	}
	return c.table(ctx, list, "TUNNEL\tINDEX\tSTATE\tWORKER\tEDGE\tREGION\tPROTOCOL\tEPOCH\tERROR", func(w *tabwriter.Writer) {
		for _, s := range list {
			state := string(s.State)
			if s.Worker != "" && !s.Live {
				state = "expired"
			}
			_, _ = fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", s.Tunnel, s.Index, state, s.Worker, s.Edge, s.Region, s.Protocol,
				s.Epoch, s.Error)
		}
	})
}

func (c Commands) showWorkers(ctx *urfave.Context, api *opsclient.Client) error {
	list, err := all(ctx.Context, func(ctx context.Context, cursor string) ([]opsclient.WorkerState, string, error) {
		p, err := api.Workers(ctx, cursor)
		return p.Items, p.NextCursor, err
	})
	if err != nil {
		return err
	}
	return c.table(ctx, list, "WORKER\tHOST\tVERSION\tSTARTED\tCAPACITY\tTUNNELS\tSTATE", func(w *tabwriter.Writer) {
		for _, k := range list {
			state := "serves"
			switch {
			case k.Draining:
				state = "draining"
			case k.Drained:
				state = "drained"
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", k.ID, k.Host, k.Version, timeText(k.Started), k.Capacity, len(k.Tunnels), state)
		}
	})
}

func (c Commands) showProxies(ctx *urfave.Context, api *opsclient.Client) error {
	list, err := all(ctx.Context, func(ctx context.Context, cursor string) ([]opsclient.ProxyState, string, error) {
		p, err := api.Proxies(ctx, cursor)
		return p.Items, p.NextCursor, err
	})
	if err != nil {
		return err
	}
	return c.table(ctx, list, "PROXY\tHOST\tVERSION\tENDPOINT\tSTATE", func(w *tabwriter.Writer) {
		for _, p := range list {
			state := "serves"
			if p.Draining {
				state = "draining"
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.ID, p.Host, p.Version, p.Endpoint, state)
		}
	})
}

var errLimit = errors.New("--limit is not between 1 and 10000")

// events lists the last events, the oldest first, and follows them.
func (c Commands) events(ctx *urfave.Context, api *opsclient.Client) error {
	limit := ctx.Int("limit")
	if limit < 1 || limit > 10_000 {
		return errLimit
	}
	var list []opsclient.Event
	for cursor := ""; len(list) < limit; {
		p, err := api.Events(ctx.Context, cursor)
		if err != nil {
			return err
		}
		list = append(list, p.Items...)
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	list = list[:min(limit, len(list))]
	last := ""
	if len(list) > 0 {
		last = list[0].ID
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	if !ctx.Bool("follow") {
		return c.table(ctx, list, "TIME\tEVENT\tWHAT", func(w *tabwriter.Writer) {
			for _, e := range list {
				_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", e.Time.Format(time.RFC3339), e.Kind, eventText(e))
			}
		})
	}
	for _, e := range list {
		c.Println(e.Time.Format(time.RFC3339), e.Kind, eventText(e))
	}
	err := api.Follow(ctx.Context, last, func(e opsclient.Event) error {
		c.Println(e.Time.Format(time.RFC3339), e.Kind, eventText(e))
		return nil
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// eventText is what an event is about, on one line.
func eventText(e opsclient.Event) string {
	var out []string
	add := func(name, value string) {
		if value != "" {
			out = append(out, name+" "+value)
		}
	}
	if e.Tunnel != nil {
		add("tunnel", e.Tunnel.String())
	}
	if e.Index != nil {
		add("index", strconv.Itoa(int(*e.Index)))
	}
	add("worker", e.Worker)
	add("proxy", e.Proxy)
	add("edge", e.Edge)
	if e.Epoch != 0 {
		add("epoch", strconv.FormatUint(uint64(e.Epoch), 10))
	}
	add("because", e.Cause)
	if e.Version != 0 {
		add("version", strconv.FormatUint(e.Version, 10))
	}
	add("by", e.Who)
	if e.Detail != "" {
		out = append(out, e.Detail)
	}
	return strings.Join(out, ", ")
}
