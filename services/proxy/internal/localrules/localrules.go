package localrules

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/logkey"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Origin names one origin for every request, for deployments without ingress rules (docs/spec/ingress.md 5).
type Origin struct {
	URL              string `yaml:"url" usage:"origin for all requests, such as http://localhost:8080"`
	UnixSocket       string `yaml:"unix_socket" usage:"path of a Unix socket that serves all requests"`
	HelloWorld       bool   `yaml:"hello_world" usage:"respond to all requests with the built-in demo page"`
	Bastion          bool   `yaml:"bastion" usage:"jump host: the visitor's client names the destination"`
	Socks5           bool   `yaml:"socks5" usage:"the visitor's client speaks SOCKS5 to a stream service"`
	ProxyProtocol    string `yaml:"proxy_protocol" usage:"header with the visitor's address at the start of a stream: v1 or v2"`
	HTTPHostHeader   string `yaml:"http_host_header" usage:"Host header towards the origin"`
	OriginServerName string `yaml:"origin_server_name" usage:"name expected in the origin's certificate"`
	CAPool           string `yaml:"ca_pool" usage:"PEM file with further roots for the origin's certificate"`
	NoTLSVerify      bool   `yaml:"no_tls_verify" usage:"accept any certificate of the origin"`
}

// Files names the configuration files of a proxy.
type Files struct {
	// General may hold several YAML documents. A single one serves every tunnel without rules of its own, whatever tunnel it names. Of
	// several, each serves the tunnel that it names, and one that names none serves all others. Empty is no file.
	General string
	// Tunnels hold a document, or several, for the tunnel that each names.
	Tunnels []string
}

// Watch reads and compiles the files, and passes the rules on to use: the first ones before it returns, and later ones whenever the files
// change. It logs what should be looked at. A file that is no regular one, such as a FIFO, is read once. An error of the first time is
// returned; later ones leave the former rules in force, and watcher reports them.
func (f Files) Watch(watcher *filewatch.Watcher, origin Origin, log *slog.Logger, use func(Rules) error) error {
	apply := func(contents [][]byte) error {
		local, err := f.Compile(contents, origin)
		if err != nil {
			return err
		}
		local.Log(log)
		return use(local)
	}
	paths := f.Paths()
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return f.once(paths, apply)
		}
	}
	if len(paths) == 0 {
		return apply(nil)
	}
	_, err := watcher.Add(filewatch.Set{
		Name: "configuration file", Paths: paths, MaxBytes: cfdfile.MaxSize, Settle: true, Apply: apply,
	})
	return err
}

// once reads the files without watching them.
func (f Files) once(paths []string, apply func([][]byte) error) error {
	var contents [][]byte
	for _, path := range paths {
		b, err := cfdfile.ReadContent(path)
		if err != nil {
			return err
		}
		contents = append(contents, b)
	}
	return apply(contents)
}

// Rules are the local rules of a proxy.
type Rules struct {
	// General serves every tunnel that is not in Tunnels.
	General *ingress.Set
	Tunnels map[tunnel.ID]*ingress.Set
	// Source says where they come from.
	Source rules.Source
	// Warnings say what is accepted but should be looked at, one line each.
	Warnings []Warning
}

// Warning is something in a file that an operator should look at.
type Warning struct {
	File string
	// Key is a key that nothing reads; Text is any other warning.
	Key, Text string
}

// Paths lists the files, General first.
func (f Files) Paths() []string {
	if f.General == "" {
		return slices.Clone(f.Tunnels)
	}
	return append([]string{f.General}, f.Tunnels...)
}

// Compile makes the rules from the contents of the files, in the order of Paths. Without rules for all tunnels in them, origin names the
// service for those; without either they get 503. An error changes nothing and names the file, the document and the rule.
func (f Files) Compile(contents [][]byte, origin Origin) (Rules, error) {
	c := compiler{origin: origin.singleFlags(), rules: Rules{Tunnels: make(map[tunnel.ID]*ingress.Set)}, where: make(map[tunnel.ID]string)}
	if c.rules.Source = rules.SourceFlags; len(contents) > 0 {
		c.rules.Source = rules.SourceFile
	}
	for i, path := range f.Paths() {
		files, err := cfdfile.ParseAll(path, contents[i])
		if err != nil {
			return Rules{}, err
		}
		lone := path == f.General && i == 0 && len(files) == 1
		for n, file := range files {
			name := path
			if len(files) > 1 {
				name = fmt.Sprintf("%s: document %d", path, n+1)
			}
			if err := c.document(name, file, lone, i == 0 && f.General != ""); err != nil {
				return Rules{}, err
			}
		}
	}
	if c.rules.General == nil {
		if err := c.single(); err != nil {
			return Rules{}, err
		}
	}
	return c.rules, nil
}

// compiler collects the rules of all documents.
type compiler struct {
	origin ingress.SingleFlags
	rules  Rules
	where  map[tunnel.ID]string // the document of each tunnel
}

var errNamesNoTunnel = errors.New("the document names no tunnel (tunnel: UUID), and another one is for all tunnels that none names")

// document adds one document. A lone one is for all tunnels, and mayBeGeneral says that it is so without the name of a tunnel.
func (c *compiler) document(name string, file *cfdfile.File, lone, mayBeGeneral bool) error {
	for _, key := range file.UnusedKeys {
		c.rules.Warnings = append(c.rules.Warnings, Warning{File: file.Path, Key: key})
	}
	if lone || file.Tunnel == "" {
		if c.rules.General != nil || !mayBeGeneral {
			return fmt.Errorf("%s: %w", name, errNamesNoTunnel)
		}
		addFileFlags(&c.origin, file.Flags)
		set, err := compile(name, file)
		if errors.Is(err, ingress.ErrNoIngress) {
			return nil // a flag may name the origin
		}
		return c.add(file.Path, set, err, func() { c.rules.General = set })
	}
	id, err := tunnel.ParseID(file.Tunnel)
	if err != nil {
		return fmt.Errorf("%s: tunnel: %w (one of several documents names its tunnel by the UUID)", name, err)
	}
	if other, taken := c.where[id]; taken {
		return fmt.Errorf("%s: tunnel %s has rules in %s already", name, id, other)
	}
	c.where[id] = name
	set, err := compile(name, file)
	return c.add(file.Path, set, err, func() { c.rules.Tunnels[id] = set })
}

// compile compiles a document; errors name the rule.
func compile(name string, file *cfdfile.File) (*ingress.Set, error) {
	set, err := ingress.Compile(file.Document)
	if fault, ok := errors.AsType[*ingress.RuleError](err); ok {
		return nil, fmt.Errorf("%s: %s: %w", name, fault.Where(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return set, nil
}

func (c *compiler) add(path string, set *ingress.Set, err error, put func()) error {
	if err != nil {
		return err
	}
	put()
	for _, text := range set.Warnings() {
		c.rules.Warnings = append(c.rules.Warnings, Warning{File: path, Text: text})
	}
	return nil
}

// single makes the general rules from the one origin of the settings.
func (c *compiler) single() (err error) {
	c.rules.General, err = ingress.SingleOrigin(c.origin)
	if errors.Is(err, ingress.ErrNoRules) {
		c.rules.General = ingress.Default503()
		if len(c.rules.Tunnels) == 0 {
			c.rules.Warnings = append(c.rules.Warnings, Warning{Text: err.Error()})
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	return nil
}

// Limited puts the local limit of private-network flows in place of that of each set. An empty text leaves them as they are.
func (r Rules) Limited(maxActiveFlows string) (Rules, error) {
	out := Rules{Tunnels: make(map[tunnel.ID]*ingress.Set, len(r.Tunnels)), Source: r.Source, Warnings: r.Warnings}
	var err error
	if out.General, err = Limited(r.General, maxActiveFlows); err != nil {
		return Rules{}, err
	}
	for id, set := range r.Tunnels {
		if out.Tunnels[id], err = Limited(set, maxActiveFlows); err != nil {
			return Rules{}, err
		}
	}
	return out, nil
}

// Limited puts the local limit of private-network flows in place of the one in set. An empty text leaves set as it is.
func Limited(set *ingress.Set, maxActiveFlows string) (*ingress.Set, error) {
	if maxActiveFlows == "" {
		return set, nil
	}
	return set.WithMaxActiveFlows(maxActiveFlows)
}

// Log writes the warnings.
func (r Rules) Log(log *slog.Logger) {
	for _, w := range r.Warnings {
		switch {
		case w.Key != "":
			log.Warn("unused key in config file", slog.String(logkey.File, w.File), slog.String(logkey.Key, w.Key))
		case w.File == "":
			log.Warn("no ingress rules", slog.String(logkey.Err, w.Text))
		default:
			log.Warn("ingress rules accepted with a warning", slog.String(logkey.File, w.File), slog.String(logkey.Warning, w.Text))
		}
	}
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

// singleFlags translates the section into the flags of the same meaning; only what is set counts as given.
func (o Origin) singleFlags() ingress.SingleFlags {
	f := ingress.SingleFlags{
		URL:        given(o.URL),
		UnixSocket: given(o.UnixSocket),
		HelloWorld: given(o.HelloWorld),
		Bastion:    given(o.Bastion),
		Socks5:     given(o.Socks5),
	}
	f.Origin.ProxyProtocol = given(o.ProxyProtocol)
	f.Origin.HTTPHostHeader = given(o.HTTPHostHeader)
	f.Origin.OriginServerName = given(o.OriginServerName)
	f.Origin.CAPool = given(o.CAPool)
	f.Origin.NoTLSVerify = given(o.NoTLSVerify)
	return f
}

// given is nil for the zero value, which is "not set" in a service's own configuration.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
