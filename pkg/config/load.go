package config

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"

	"github.com/culvert-tunnel/culvert/pkg/redact"
)

// EnvPrefix starts the name of every variable.
const EnvPrefix = "CULVERT_"

// configFlag is the flag that names the settings file.
const configFlag = "config"

// ErrHelp is returned by Load when the arguments ask for help.
var ErrHelp = errors.New("help requested")

// validator is a settings struct that checks itself.
type validator interface{ Validate() error }

// Load fills cfg, a pointer to a struct that holds the defaults, from the file named by --config (or CULVERT_CONFIG),
// from environ ("KEY=value") and from args, and lets it validate itself. The result joins all problems there are.
// Arguments that are no flags are returned.
func Load(args, environ []string, cfg any) (rest []string, err error) {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic("config: Load needs a pointer to a struct") // a defect of the program, not of its input
	}
	l := loader{settings: settings("", v.Elem()), env: environment(environ)}
	given, rest, problems := l.parse(args)
	if errors.Is(errors.Join(problems...), ErrHelp) {
		return nil, ErrHelp
	}
	file := l.env[EnvPrefix+"CONFIG"]
	for _, g := range given {
		if g.name == configFlag {
			file = g.value
		}
	}
	if file != "" {
		problems = append(problems, decodeFile(file, v.Elem())...)
	}
	problems = append(problems, l.applyEnv()...)
	problems = append(problems, l.applyFlags(given)...)
	if c, ok := cfg.(validator); ok && len(problems) == 0 {
		if err := c.Validate(); err != nil {
			problems = append(problems, err)
		}
	}
	return rest, errors.Join(problems...)
}

type loader struct {
	settings []setting
	env      map[string]string
}

// assignment is one flag of the command line.
type assignment struct{ name, value string }

func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		if k, val, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, EnvPrefix) {
			env[k] = val
		}
	}
	return env
}

// flagName makes --redis.password-file and --redis.password_file the same.
func flagName(s string) string { return strings.ReplaceAll(s, "-", "_") }

func (l *loader) find(name string) (setting, bool) {
	for _, s := range l.settings {
		if flagName(s.path) == flagName(name) && !isSecret(s.value.Type()) && isLeafText(s.value.Type()) {
			return s, true
		}
	}
	return setting{}, false
}

// parse splits args into flags and the rest: --name value, --name=value, -name as well; --name alone for booleans.
func (l *loader) parse(args []string) (given []assignment, rest []string, problems []error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return given, append(rest, args[i+1:]...), problems
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if name == "help" || name == "h" {
			return nil, nil, []error{ErrHelp}
		}
		s, known := l.find(name)
		if !known && name != configFlag {
			problems = append(problems, fmt.Errorf("unknown flag --%s", name))
			continue
		}
		if !hasValue {
			switch {
			case known && isBool(s.value):
				value = "true"
			case i+1 < len(args):
				i++
				value = args[i]
			default:
				problems = append(problems, fmt.Errorf("flag --%s needs a value", name))
				continue
			}
		}
		given = append(given, assignment{name: name, value: value})
	}
	return given, rest, problems
}

func (l *loader) applyEnv() (problems []error) {
	for _, s := range l.settings {
		text, ok := l.env[s.env()]
		if !ok || !isLeafText(s.value.Type()) {
			continue
		}
		if err := s.set(text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %s: %w", s.env(), s.path, err))
		}
	}
	return problems
}

// applyFlags sets what the command line gives; a flag given several times makes a list.
func (l *loader) applyFlags(given []assignment) (problems []error) {
	joined := make(map[string]string, len(given))
	for _, g := range given {
		s, ok := l.find(g.name)
		if !ok {
			continue // the file's name
		}
		text := g.value
		if before, again := joined[s.path]; again && (s.value.Kind() == reflect.Slice || s.value.Kind() == reflect.Map) {
			text = before + "," + text
		}
		joined[s.path] = text
		if err := s.set(text); err != nil {
			problems = append(problems, fmt.Errorf("--%s: %w", s.path, err))
		}
	}
	return problems
}

// Usage lists every setting of cfg with its default on w.
func Usage(w io.Writer, cfg any) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintf(tw, "  --%s FILE\tYAML file with the same settings (%sCONFIG)\n", configFlag, EnvPrefix)
	for _, s := range settings("", reflect.ValueOf(cfg).Elem()) {
		name := "--" + s.path
		switch {
		case isSecret(s.value.Type()):
			name = "(no flag)"
		case !isLeafText(s.value.Type()):
			_, _ = fmt.Fprintf(tw, "  (file: %s)\t%s\n", s.path, s.usage)
			continue
		}
		_, _ = fmt.Fprintf(tw, "  %s\t%s (%s; default %s)\n", name, s.usage, s.env(), shown(s.value))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("usage text: %w", err)
	}
	return nil
}

func shown(v reflect.Value) string {
	text := redact.Text(fmt.Sprint(v.Interface()))
	if v.IsZero() && v.Kind() != reflect.Bool && !v.CanInt() {
		return "none"
	}
	return text
}

// Dump writes the effective settings of cfg as YAML, without a secret.
func Dump(w io.Writer, cfg any) error {
	b, err := yaml.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("effective configuration: %w", err)
	}
	if _, err := io.WriteString(w, redact.Text(string(b))); err != nil {
		return fmt.Errorf("effective configuration: %w", err)
	}
	return nil
}
