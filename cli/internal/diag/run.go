package diag

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/culvert-tunnel/culvert/cli/internal/diag/scrub"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/redact"
)

const (
	// runTimeout bounds a whole run.
	runTimeout = 45 * time.Second
	reportFile = "task-result.json"
)

// Options say what to collect.
type Options struct {
	// Address is that of the metrics listener to ask.
	Address string
	// Container and Pod name the container, and the pod, whose logs are read instead of those of this host.
	Container, Pod string
	NoLogs         bool
	NoMetrics      bool
	NoSystem       bool
	NoRuntime      bool
	NoNetwork      bool
	// Secrets are masked wherever they stand.
	Secrets []string
	// Checks makes the connectivity checks for a connector with the given flags, and gives the content of prechecks.json.
	Checks func(ctx context.Context, flags map[string]string) ([]byte, error)
	// Dir is where the bundle is written.
	Dir string
}

// Result is what a run left.
type Result struct {
	// Bundle is the path of the zip file.
	Bundle string
	// Failed joins the errors of the jobs that failed.
	Failed error
}

// job is one thing to collect.
type job struct {
	name, file string
	form       form
	skip       bool
	collect    func(ctx context.Context) ([]byte, error)
}

// outcome is the result of a job as task-result.json has it.
type outcome struct {
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
}

// run is one run. What several jobs need is asked for once.
type run struct {
	opts     Options
	listener *listener
	tunnel   func() ([]byte, error)
	flags    func() ([]byte, error)
	routes   func() []route
}

// Run collects everything and writes the bundle. Each job fails alone; an error is returned only when there is no bundle. The jobs
// run at the same time, so that one which waits for a connector that does not respond costs the others nothing.
func Run(ctx context.Context, opts Options, logger *slog.Logger) (Result, error) {
	l, err := newListener(opts.Address)
	if err != nil {
		return Result{}, err
	}
	now := time.Now()
	f, err := create(opts.Dir, now)
	if err != nil {
		return Result{}, fmt.Errorf("diagnostic file: %w", err)
	}
	logger.InfoContext(ctx, "diagnostic started", slog.String(logkey.URL, l.base.String()))
	jobCtx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	r := &run{opts: opts, listener: l}
	r.tunnel = sync.OnceValues(func() ([]byte, error) { return l.get(jobCtx, pathTunnel) })
	r.flags = sync.OnceValues(func() ([]byte, error) { return l.get(jobCtx, pathConfiguration) })
	r.routes = sync.OnceValue(func() []route { return trace(jobCtx, destinations(r.instanceFlags(), r.connected())) })
	entries, report, failed := r.do(jobCtx, logger)
	b, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return Result{}, err
	}
	if err := write(f, now, append(entries, entry{reportFile, b})); err != nil {
		return Result{}, fmt.Errorf("diagnostic file: %w", err)
	}
	logger.InfoContext(ctx, "diagnostic file written", slog.String(logkey.File, f.Name()))
	return Result{Bundle: f.Name(), Failed: failed}, nil
}

// jobs is the table of docs/spec/lifecycle.md 12.1.
func (r *run) jobs() []job {
	o := &r.opts
	ask := func(path string) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) { return r.listener.get(ctx, path) }
	}
	return []job{
		{"tunnel state", "tunnelstate.json", document, false, func(context.Context) ([]byte, error) { return r.tunnel() }},
		{"system information", "systeminformation.json", document, o.NoSystem, ask(pathSystem)},
		{"goroutine profile", "goroutine.pprof", binary, o.NoRuntime, ask(pathGoroutine)},
		{"heap profile", "heap.pprof", binary, o.NoRuntime, ask(pathHeap)},
		{"metrics", "metrics.txt", lines, o.NoMetrics, ask(pathMetrics)},
		{"log information", "cloudflared_logs.txt", lines, o.NoLogs, r.logs},
		{"raw network information", "raw-network.txt", lines, o.NoNetwork, func(context.Context) ([]byte, error) {
			return rawRoutes(r.routes()), failures(r.routes())
		}},
		{"network information", "network.json", document, o.NoNetwork, func(context.Context) ([]byte, error) {
			b, err := jsonRoutes(r.routes())
			return b, errors.Join(failures(r.routes()), err)
		}},
		{"cli configuration", "cli-configuration.json", document, false, func(context.Context) ([]byte, error) { return r.flags() }},
		{"configuration", "configuration.json", document, false, ask(pathRules)},
		{"connectivity pre-checks", "prechecks.json", document, o.NoNetwork, func(ctx context.Context) ([]byte, error) {
			return o.Checks(ctx, r.instanceFlags())
		}},
	}
}

// do does all jobs and gives the files, the report and the errors, in the order of the table.
func (r *run) do(ctx context.Context, logger *slog.Logger) (entries []entry, report map[string]outcome, failed error) {
	jobs := r.jobs()
	contents, errs := make([][]byte, len(jobs)), make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, j := range jobs {
		if j.skip {
			continue
		}
		wg.Go(func() {
			logger.InfoContext(ctx, "collecting", slog.String(logkey.Name, j.name))
			contents[i], errs[i] = r.collect(ctx, j)
			if errs[i] != nil {
				logger.ErrorContext(ctx, "not collected", slog.String(logkey.Name, j.name), slog.Any(logkey.Err, errs[i]))
				return
			}
			logger.InfoContext(ctx, "collected", slog.String(logkey.Name, j.name))
		})
	}
	wg.Wait()
	report = map[string]outcome{}
	masker := scrub.New(r.opts.Secrets...)
	for i, j := range jobs {
		if j.skip {
			continue
		}
		report[j.name] = outcome{Result: "success"}
		if errs[i] != nil {
			report[j.name] = outcome{Result: "failure", Error: masker.Text(errs[i].Error())}
			errs[i] = fmt.Errorf("%s: %w", j.name, errs[i])
		}
		if len(contents[i]) > 0 {
			entries = append(entries, entry{j.file, contents[i]})
		}
	}
	return entries, report, errors.Join(errs...)
}

// collect does one job. There may be a content beside an error.
func (r *run) collect(ctx context.Context, j job) ([]byte, error) {
	content, err := j.collect(ctx)
	if len(content) > 0 || err == nil { // an empty document is none
		var cleanErr error
		if content, cleanErr = clean(j.form, content, r.opts.Secrets); cleanErr != nil {
			content, err = nil, errors.Join(err, cleanErr)
		}
	}
	return content, redact.Error(err)
}

// instanceFlags are the flags of the connector, nil when it does not tell them.
func (r *run) instanceFlags() map[string]string {
	b, err := r.flags()
	if err != nil {
		return nil
	}
	var flags map[string]string
	if err := json.Unmarshal(b, &flags); err != nil {
		return nil
	}
	return flags
}

// connected lists the IP addresses of the edge to which the connector has connections.
func (r *run) connected() []string {
	b, err := r.tunnel()
	if err != nil {
		return nil
	}
	var st tunnelState
	if err := json.Unmarshal(b, &st); err != nil {
		return nil
	}
	var all []string
	for _, c := range st.Connections {
		if ip, err := netip.ParseAddr(c.EdgeAddress); err == nil {
			all = append(all, ip.String())
		}
	}
	return all
}

// logs reads the logs from where the flags of the connector and of the command say.
func (r *run) logs(ctx context.Context) ([]byte, error) {
	w := wanted{r.opts.Container, r.opts.Pod}
	var flags map[string]string
	if w == (wanted{}) {
		b, err := r.flags()
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(b, &flags); err != nil {
			return nil, fmt.Errorf("flags of the connector: %w", err)
		}
	}
	src, err := thisHost().choose(w, flags)
	if err != nil {
		return nil, err
	}
	out := &buffer{limit: maxBody + 1<<10}
	err = src.read(ctx, out)
	if out.cut {
		err = errors.Join(err, fmt.Errorf("the logs are longer than %d bytes, the rest is not included", maxBody))
	}
	return out.Bytes(), err
}

// ListOf reads a list as the configuration endpoints show it: [a b].
func ListOf(text string) []string {
	return strings.Fields(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
}
