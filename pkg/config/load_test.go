package config_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/config"
)

type region struct {
	Name  string   `yaml:"name"`
	Addrs []string `yaml:"addrs"`
}

type section struct {
	Wait    time.Duration     `yaml:"wait" usage:"how long"`
	Listen  netip.AddrPort    `yaml:"listen" usage:"where"`
	Names   []string          `yaml:"names" usage:"who"`
	Labels  map[string]string `yaml:"labels" usage:"what"`
	Enabled bool              `yaml:"enabled" usage:"whether"`
	Limit   uint8             `yaml:"limit" usage:"how many"`
	Ratio   float64           `yaml:"ratio" usage:"how much"`
}

type inlined struct {
	DataDir string `yaml:"data_dir" usage:"directory"`
}

type settings struct {
	Inlined inlined       `yaml:",inline"`
	Section section       `yaml:"section"`
	Regions []region      `yaml:"regions" usage:"list"`
	Pass    config.Secret `yaml:"pass" usage:"secret"`
	URL     string        `yaml:"url" usage:"address"`
	hidden  int
}

func (s *settings) Validate() error {
	if s.Section.Limit == 13 {
		return errors.Join(errors.New("section: limit: unlucky"), errors.New("url: bad luck too"))
	}
	return nil
}

func defaults() settings {
	return settings{Section: section{Wait: time.Second, Limit: 1, Names: []string{"x"}}}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadPrecedence(t *testing.T) {
	file := write(
		t,
		"data_dir: from-file\nsection:\n  wait: 2s\n  limit: 2\n  names: [a, b]\n  labels: {k: v}\n  ratio: 0.5\n"+
			"regions:\n- name: r1\n  addrs: [h:1]\npass: p\n",
	)
	cfg := defaults()
	rest, err := config.Load(
		[]string{
			"--config",
			file,
			"--section.limit=4",
			"-section.listen",
			"127.0.0.1:7",
			"--section.enabled",
			"--section.names",
			"c",
			"--section.names=d,e",
			"more",
		},
		[]string{"CULVERT_SECTION_LIMIT=3", "CULVERT_SECTION_WAIT=3s", "OTHER=1", "CULVERT_UNKNOWN=fine", "CULVERT_SECTION_LABELS=a=b,c=d"},
		&cfg,
	)
	if err != nil {
		t.Fatal(err)
	}
	want := settings{
		Inlined: inlined{DataDir: "from-file"},
		Section: section{
			Wait: 3 * time.Second, Limit: 4, Listen: netip.MustParseAddrPort("127.0.0.1:7"), Enabled: true,
			Names: []string{"c", "d", "e"}, Labels: map[string]string{"a": "b", "c": "d"}, Ratio: 0.5,
		},
		Regions: []region{{Name: "r1", Addrs: []string{"h:1"}}},
		Pass:    "p",
	}
	if d := cmp.Diff(want, cfg, cmp.AllowUnexported(settings{}), cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Errorf("Load: -want +got\n%s", d)
	}
	if d := cmp.Diff([]string{"more"}, rest); d != "" {
		t.Errorf("rest: %s", d)
	}
	if cfg.hidden != 0 {
		t.Error("unexported field was touched")
	}
}

func TestLoadReportsEveryProblem(t *testing.T) {
	file := write(t, "section:\n  wait: soon\n  nope: 1\n  names: single\n  limit: 300\nsection2: {}\nurl: [a]\nregions:\n- nam: x\n")
	cfg := defaults()
	_, err := config.Load([]string{"--config=" + file, "--section.ratio", "x", "--bogus", "--pass=x", "--url"},
		[]string{"CULVERT_SECTION_ENABLED=perhaps"}, &cfg)
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`unknown flag --bogus`,
		`unknown flag --pass`, // secrets have no flag
		`flag --url needs a value`,
		file + `:2:9: section.wait: "soon" is not a duration such as 10s`,
		file + `:3:3: section.nope: unknown key`,
		file + `:4:10: section.names: must be a slice`,
		file + `:5:10: section.limit: "300" is not a non-negative whole number of 8 bits`,
		file + `:6:1: section2: unknown key`,
		file + `:7:6: url: does not fit a setting of type string`,
		file + `:9:3: regions[0].nam: unknown key`,
		`CULVERT_SECTION_ENABLED: section.enabled: "perhaps" is none of true, false`,
		`--section.ratio: "x" is not a number`,
	}
	if d := cmp.Diff(want, strings.Split(err.Error(), "\n")); d != "" {
		t.Errorf("problems: -want +got\n%s", d)
	}
}

func TestLoadFileErrors(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"malformed": {"section:\n  wait: [1\nurl: x\n", "c.yml:2:10: did not find expected ',' or ']'"},
		"scalar":    {"hello\n", "c.yml:1:1: must be a mapping"},
		"empty":     {"", ""},
		"twice":     {"url: a\nurl: b\n", "given twice"},
		"null":      {"section:\nurl: a\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := defaults()
			_, err := config.Load([]string{"--config", write(t, tc.text)}, nil, &cfg)
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("Load = %v, want %q", err, tc.want)
			}
		})
	}
	cfg := defaults()
	if _, err := config.Load([]string{"--config", "/does/not/exist.yml"}, nil, &cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestLoadValidates(t *testing.T) {
	cfg := defaults()
	_, err := config.Load(nil, []string{"CULVERT_SECTION_LIMIT=13"}, &cfg)
	if err == nil || err.Error() != "section: limit: unlucky\nurl: bad luck too" {
		t.Errorf("Load = %v", err)
	}
	if _, err := config.Load([]string{"-h"}, nil, &cfg); !errors.Is(err, config.ErrHelp) {
		t.Errorf("help = %v", err)
	}
}

func TestDumpAndUsageShowNoSecret(t *testing.T) {
	cfg := defaults()
	cfg.Pass, cfg.URL = "hunter2", "redis://user:hunter2@host:1/0"
	var dump, usage strings.Builder
	if err := config.Dump(&dump, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := config.Usage(&usage, &cfg); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{dump.String(), usage.String()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("secret shown:\n%s", text)
		}
	}
	for _, want := range []string{"pass: '***'", "wait: 1s", "redis://user:***@host:1/0"} {
		if !strings.Contains(dump.String(), want) {
			t.Errorf("Dump misses %q:\n%s", want, dump.String())
		}
	}
	for _, want := range []string{"--section.wait", "CULVERT_SECTION_WAIT", "(no flag)", "how many"} {
		if !strings.Contains(usage.String(), want) {
			t.Errorf("Usage misses %q:\n%s", want, usage.String())
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("section: {wait: 1s}\n", "--section.limit=3")
	f.Add("a: &x [*x]\n", "--")
	f.Add("regions: [{name: &a b, addrs: [*a]}]", "-section.names")
	f.Fuzz(func(t *testing.T, text, arg string) {
		path := filepath.Join(t.TempDir(), "c.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := defaults()
		_, _ = config.Load([]string{"--config", path, arg}, []string{arg}, &cfg) // only must not panic
	})
}
