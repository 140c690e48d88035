package proxy

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
)

// loadRules compiles the rules of the configured file, or of the single origin, or gives the rule set that answers 503.
func loadRules(cfg Config, log *slog.Logger) (*ingress.Set, error) {
	flags := cfg.Origin.singleFlags()
	if cfg.ConfigFile != "" {
		file, err := cfdfile.Read(cfg.ConfigFile)
		if err != nil {
			return nil, fmt.Errorf("config_file: %w", err)
		}
		for _, key := range file.UnusedKeys {
			log.Warn("unused key in config file", slog.String(logkey.File, cfg.ConfigFile), slog.String(logkey.Key, key))
		}
		set, err := ingress.Compile(file.Document)
		if err == nil {
			for _, text := range set.Warnings() {
				log.Warn("ingress rules accepted with a warning", slog.String(logkey.Warning, text))
			}
			return set, nil
		}
		if !errors.Is(err, ingress.ErrNoIngress) {
			return nil, fmt.Errorf("config_file: %s: %w", cfg.ConfigFile, err)
		}
		addFileFlags(&flags, file.Flags)
	}
	set, err := ingress.SingleOrigin(flags)
	if errors.Is(err, ingress.ErrNoRules) {
		log.Warn("no ingress rules", slog.Any(logkey.Err, err))
		return ingress.Default503(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	return set, nil
}

// addFileFlags takes a single origin from the file's top level, where it stands for the flag of the same name.
func addFileFlags(flags *ingress.SingleFlags, file map[string][]string) {
	first := func(name string) *string {
		if v := file[name]; len(v) > 0 {
			return &v[0]
		}
		return nil
	}
	if flags.URL == nil {
		flags.URL = first("url")
	}
	if flags.UnixSocket == nil {
		flags.UnixSocket = first("unix-socket")
	}
	for name, flag := range map[string]**bool{"hello-world": &flags.HelloWorld, "bastion": &flags.Bastion, "socks5": &flags.Socks5} {
		if v := first(name); v != nil && *v == "true" && *flag == nil {
			*flag = given(true)
		}
	}
}

// warnUnchecked says that rules which demand an access token are closed.
func warnUnchecked(set *ingress.Set, log *slog.Logger) {
	for i := range set.Rules {
		if set.Rules[i].Origin.Access.Required {
			log.Warn("rule demands access tokens, which cannot be checked yet: all its requests are refused", slog.Int(logkey.Rule, i))
		}
	}
}
