package localrules_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/filewatch"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/services/proxy/internal/localrules"
)

const (
	first  = "00000000-0000-0000-0000-000000000001"
	second = "00000000-0000-0000-0000-000000000002"
)

// document is a configuration that responds to everything with a status.
func document(tunnel, status string) string {
	text := "ingress: [{service: 'http_status:" + status + "'}]\n"
	if tunnel != "" {
		text += "tunnel: " + tunnel + "\n"
	}
	return text
}

// services gives the only service of each tunnel's rules; "" has those for all other tunnels.
func services(r localrules.Rules) map[string]string {
	out := map[string]string{"": r.General.Rules[0].Service.Text()}
	for id, set := range r.Tunnels {
		out[id.String()] = set.Rules[0].Service.Text()
	}
	return out
}

func TestCompile(t *testing.T) {
	const next = "---\n"
	for name, tc := range map[string]struct {
		general string
		tunnels []string
		origin  localrules.Origin
		want    map[string]string
		err     string // a part of it
	}{
		"nothing":                      {want: map[string]string{"": "http_status:503"}},
		"one origin":                   {origin: localrules.Origin{URL: "http://127.0.0.1:1"}, want: map[string]string{"": "http://127.0.0.1:1"}},
		"one document":                 {general: document("", "200"), want: map[string]string{"": "http_status:200"}},
		"one document names a tunnel":  {general: document(first, "200"), want: map[string]string{"": "http_status:200"}},
		"one document, tunnel by name": {general: document("shop", "200"), want: map[string]string{"": "http_status:200"}},
		"no rules but a flag":          {general: "url: http://127.0.0.1:2\n", want: map[string]string{"": "http://127.0.0.1:2"}},
		"several documents": {
			general: document(first, "201") + next + document(second, "202"),
			want:    map[string]string{"": "http_status:503", first: "http_status:201", second: "http_status:202"},
		},
		"several documents, one for all": {
			general: document(first, "201") + next + document("", "200"),
			want:    map[string]string{"": "http_status:200", first: "http_status:201"},
		},
		"a file for each": {
			general: document(first, "200"), tunnels: []string{document(first, "201"), document(second, "202")},
			want: map[string]string{"": "http_status:200", first: "http_status:201", second: "http_status:202"},
		},
		"files of tunnels and one origin": {
			tunnels: []string{document(first, "201")}, origin: localrules.Origin{URL: "http://127.0.0.1:1"},
			want: map[string]string{"": "http://127.0.0.1:1", first: "http_status:201"},
		},
		"two for all": {
			general: document("", "200") + next + document("", "201"),
			err:     "general.yml: document 2: the document names no tunnel",
		},
		"file without tunnel": {tunnels: []string{document("", "200")}, err: "tunnel-0.yml: the document names no tunnel"},
		"tunnel by name":      {tunnels: []string{document("shop", "200")}, err: "tunnel-0.yml: tunnel: "},
		"the same tunnel": {
			tunnels: []string{document(first, "200"), document(first, "201")},
			err:     "tunnel-1.yml: tunnel " + first + " has rules in ",
		},
		"no rules of a tunnel": {
			tunnels: []string{"tunnel: " + first + "\n"},
			err:     "tunnel-0.yml: The config file doesn't contain any ingress rules",
		},
		"bad rule": {
			general: document(first, "200") + next + document(second, "42"),
			err:     "general.yml: document 2: rule #1: invalid HTTP status code: 42",
		},
		"bad syntax": {general: document(first, "200") + next + "ingress: [", err: "document 2"},
	} {
		t.Run(name, func(t *testing.T) {
			var files localrules.Files
			var contents [][]byte
			if tc.general != "" {
				files.General, contents = "general.yml", append(contents, []byte(tc.general))
			}
			for i, text := range tc.tunnels {
				files.Tunnels, contents = append(files.Tunnels, "tunnel-"+string(rune('0'+i))+".yml"), append(contents, []byte(text))
			}
			rules, err := files.Compile(contents, tc.origin)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			if err != nil {
				return
			}
			if d := cmp.Diff(tc.want, services(rules)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	files := localrules.Files{General: "g.yml"}
	rules, err := files.Compile([][]byte{[]byte("ingress: [{service: 'http_status:200', hosts: x}]")}, localrules.Origin{})
	if err != nil || len(rules.Warnings) != 1 || !strings.Contains(rules.Warnings[0].Key, "hosts") || rules.Warnings[0].File != "g.yml" {
		t.Errorf("warnings %+v, %v", rules.Warnings, err)
	}
	rules, err = localrules.Files{}.Compile(nil, localrules.Origin{})
	if err != nil || len(rules.Warnings) != 1 || rules.Warnings[0].Text != ingress.ErrNoRules.Error() {
		t.Errorf("warnings without rules %+v, %v", rules.Warnings, err)
	}
}

// TestWatch changes a file, at first to one that cannot be used.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(document("", "200"))
	var used []string
	var faults int
	watcher := filewatch.New(func(e filewatch.Event) {
		if e.Err != nil {
			faults++
		}
	})
	log := slog.New(slog.DiscardHandler)
	err := localrules.Files{General: path}.Watch(watcher, localrules.Origin{}, log, func(r localrules.Rules) error {
		used = append(used, services(r)[""])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	write(document("", "42"))
	watcher.Check()
	write(document("", "204"))
	watcher.Check()
	if d := cmp.Diff([]string{"http_status:200", "http_status:204"}, used); d != "" || faults != 1 {
		t.Errorf("used, with %d faults: %s", faults, d)
	}
	if err := (localrules.Files{General: path + ".none"}).Watch(watcher, localrules.Origin{}, log, nil); err == nil {
		t.Error("a missing file is no error")
	}
}

// TestWatchReadsAPipeOnce reads rules from a FIFO, as with a process substitution of a shell.
func TestWatchReadsAPipeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip("no FIFO here:", err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(path, []byte(document("", "200")), 0) }()
	var used []string
	err := localrules.Files{General: path}.Watch(nil, localrules.Origin{}, slog.New(slog.DiscardHandler), func(r localrules.Rules) error {
		used = append(used, services(r)[""])
		return nil
	})
	if err != nil || len(used) != 1 || <-wrote != nil {
		t.Errorf("used %v, %v", used, err)
	}
}
