package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
)

// adviseEvery is the time between two attempts to ask a server that does not respond how it is set up.
const adviseEvery = 5 * time.Second

// What is wrong with the server or its settings, one line each.
var (
	errEvicts = errors.New("the server may evict keys, which looks like slots that nobody ever held: set maxmemory-policy noeviction")
	errNode   = errors.New("the server is a node of a cluster, whose keys lie on other nodes, too: write redis+cluster:// in the URL")
	errAlone  = errors.New("the server is not a node of a cluster: write redis:// in the URL")
	errPart   = errors.New("a part of the cluster is down, with the keys of some tunnels")
	errNarrow = errors.New("the access list of the store's user is too narrow: `culvert store-users` writes one that is not")
	errLogin  = errors.New("the store refuses user or password: see url and password_file")
)

// diagnose adds to a refusal of the server what is to be done about it. Other errors stay as they are.
func diagnose(f form, err error) error {
	text := err.Error()
	has := func(prefix string) bool {
		return strings.HasPrefix(text, prefix+" ") || strings.Contains(text, ": "+prefix+" ")
	}
	for prefix, what := range map[string]error{"NOPERM": errNarrow, "NOAUTH": errLogin, "WRONGPASS": errLogin} {
		if has(prefix) {
			return fmt.Errorf("%w (%w)", what, err)
		}
	}
	switch {
	case f == cluster && has("CLUSTERDOWN"):
		return fmt.Errorf("%w (%w)", errPart, err)
	case f == cluster && strings.Contains(text, "cluster support disabled"):
		return fmt.Errorf("%w (%w)", errAlone, err)
	case f != cluster && (has("MOVED") || has("CROSSSLOT") || has("CLUSTERDOWN")):
		return fmt.Errorf("%w (%w)", errNode, err)
	}
	return err
}

// advice is what the sections of INFO say against the server.
func advice(f form, info string) (found []error) {
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch {
		case key == "maxmemory_policy" && value != "noeviction":
			found = append(found, fmt.Errorf("%w (it is %s)", errEvicts, value))
		case key == "cluster_enabled" && value == "1" && f != cluster:
			found = append(found, errNode)
		}
	}
	return found
}

// Advise asks the server how it is set up, and returns what is wrong with it. A server that does not say is no error: its access list may
// forbid the question.
func (s *Store) Advise(ctx context.Context) (found []error, err error) {
	var all strings.Builder
	for _, section := range []string{"memory", "cluster"} {
		reply, err := s.send(ctx, "look at the server", command.Command{Args: []string{"info", section}})
		switch {
		case err == nil:
			_, _ = fmt.Fprintln(&all, reply)
		case errors.Is(err, errNarrow):
		default:
			return nil, err
		}
	}
	return advice(s.form, all.String()), nil
}

// Advisor logs what is wrong with the server, one line each, once it responds. It is a part of a process.
type Advisor struct {
	Store  *Store
	Logger *slog.Logger
}

// Run ends with ctx.
func (a Advisor) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		found, err := a.Store.Advise(ctx)
		if err != nil {
			timer.Reset(adviseEvery)
			continue
		}
		for _, problem := range found {
			a.Logger.WarnContext(ctx, "store is not set up as it must be", slog.Any(logkey.Err, problem))
		}
		<-ctx.Done()
		return nil
	}
}
