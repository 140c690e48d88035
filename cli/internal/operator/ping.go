package operator

import (
	"errors"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/culvert-tunnel/culvert/cli/internal/console"
	"github.com/culvert-tunnel/culvert/pkg/ops"
	"github.com/culvert-tunnel/culvert/services/edge/adminclient"
)

const (
	pingCount    = 4
	pingInterval = time.Second
	pingTimeout  = 2 * time.Second
	pingSize     = 56
	pingTTL      = 64
)

var errNoReply = errors.New("no reply")

// ping sends echo requests through a tunnel, as the ping program does.
func (c Commands) ping() *urfave.Command {
	return &urfave.Command{
		Name: "ping", Usage: "ping an address of a tunnel's private network, through the tunnel", ArgsUsage: "NAME|ID IP",
		OnUsageError: console.UsageError,
		Flags: adminFlags(
			&urfave.IntFlag{Name: "count", Aliases: []string{"c"}, Usage: "how many requests to send", Value: pingCount},
			&urfave.UintFlag{Name: "ttl", Usage: "time to live of the requests", Value: pingTTL},
			&urfave.IntFlag{Name: "size", Usage: "bytes of data in a request", Value: pingSize},
			&urfave.DurationFlag{Name: "wait", Usage: "how long to wait for each response, at most 10s", Value: pingTimeout},
			&urfave.DurationFlag{Name: "interval", Usage: "time between two requests", Value: pingInterval},
		),
		Action: func(ctx *urfave.Context) error {
			ctx, err := interleaved(ctx)
			if err != nil {
				return err
			}
			if ctx.NArg() != 2 {
				return fmt.Errorf("%s needs 2 arguments: NAME|ID IP", ctx.Command.HelpName)
			}
			if ttl := ctx.Uint("ttl"); ttl < 1 || ttl > 255 {
				return fmt.Errorf("--ttl %d is not between 1 and 255", ttl)
			}
			return c.withAdminFor(ctx, c.pingTunnel)
		},
	}
}

func (c Commands) pingTunnel(ctx *urfave.Context, api *adminclient.Client) error {
	ref, ip := ctx.Args().Get(0), ctx.Args().Get(1)
	req := adminclient.PingRequest{
		Destination: ip, TTL: uint8(ctx.Uint("ttl")), Size: ctx.Int("size"), TimeoutMillis: int(ctx.Duration("wait").Milliseconds()),
	}
	tick := time.NewTicker(max(ctx.Duration("interval"), time.Millisecond))
	defer tick.Stop()
	replies := 0
	for n := range ctx.Int("count") {
		if n > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		r, err := api.Ping(ctx.Context, ref, req)
		var p *ops.Problem
		switch {
		case errors.As(err, &p) && p.Status == 504:
			c.Println(fmt.Sprintf("request %d: %v", n+1, err))
			continue
		case err != nil:
			return fmt.Errorf("ping %s: %w", ip, err)
		}
		c.Println(fmt.Sprintf("request %d: %s", n+1, pingLine(r)))
		if r.Kind == "echo_reply" {
			replies++
		}
	}
	c.Println(fmt.Sprintf("%d requests, %d replies", ctx.Int("count"), replies))
	if replies == 0 {
		return errNoReply
	}
	return nil
}

func pingLine(r adminclient.PingReply) string {
	rtt := time.Duration(r.RTTMicros) * time.Microsecond
	switch r.Kind {
	case "echo_reply":
		return fmt.Sprintf("%d bytes from %s: time=%v", r.Size, r.From, rtt)
	case "time_exceeded":
		return fmt.Sprintf("from %s: time to live exceeded, time=%v", r.From, rtt)
	case "unreachable":
		return fmt.Sprintf("from %s: destination unreachable (code %d), time=%v", r.From, r.Code, rtt)
	default:
		return fmt.Sprintf("from %s: icmp type %d code %d, time=%v", r.From, r.Type, r.Code, rtt)
	}
}
