package diag

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// flags makes flags of names and values.
func flags(pairs ...string) map[string]string {
	out := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

func TestChooseSource(t *testing.T) {
	now := time.Date(2026, 11, 29, 1, 2, 3, 0, time.UTC)
	const since = "2026-11-15T01:02:03Z"
	journal := func(units ...string) source {
		s := source{program: []string{"journalctl", "--no-pager", "--since", "2 weeks ago"}}
		for _, u := range units {
			s.program = append(s.program, "-u", u)
		}
		return s
	}
	const unit, ownUnit = "/etc/systemd/system/cloudflared.service", "/etc/systemd/system/culvert.service"
	for name, tc := range map[string]struct {
		w      wanted
		goos   string
		flags  map[string]string
		exists []string
		want   source
		fails  string
	}{
		"docker": {w: wanted{container: "c1"}, want: source{program: []string{"docker", "logs", "--tail", "10000", "--since", since, "c1"}}},
		"kubectl": {w: wanted{pod: "ns/p"}, want: source{program: []string{
			"kubectl", "logs", "ns/p", "--since-time", since, "--tail", "10000",
		}}},
		"kubectl with a container": {w: wanted{container: "c1", pod: "p"}, want: source{program: []string{
			"kubectl", "logs", "p", "--since-time", since, "--tail", "10000", "-c", "c1",
		}}},
		"a flag as container": {w: wanted{container: "--privileged"}, fails: "is not the name"},
		"a flag as pod":       {w: wanted{pod: "-f"}, fails: "is not the name"},
		"file": {
			flags: flags("logfile", "/l", "log-directory", "/d", "uid", "0"), exists: []string{unit},
			want: source{file: "/l"},
		},
		"directory": {flags: flags("log-directory", "/d", "uid", "0"), exists: []string{unit}, want: source{directory: "/d"}},
		"journal":   {flags: flags("uid", "0"), exists: []string{unit}, want: journal("cloudflared.service")},
		"journal of both units": {
			flags: flags("uid", "9"), exists: []string{unit, ownUnit},
			want: journal("cloudflared.service", "culvert.service"),
		},
		"sysv":                   {flags: flags("uid", "0"), exists: []string{linuxServiceLog}, want: source{file: linuxServiceLog}},
		"sysv of another user":   {flags: flags("uid", "9"), exists: []string{linuxServiceLog}, fails: ErrNoLogs.Error()},
		"nothing":                {flags: flags("uid", "0"), fails: ErrNoLogs.Error()},
		"launchd":                {goos: "darwin", exists: []string{macServiceLog}, want: source{file: macServiceLog}},
		"launchd of a user":      {goos: "darwin", exists: []string{"/home/u" + macServiceLog}, want: source{file: "/home/u" + macServiceLog}},
		"nothing on macOS":       {goos: "darwin", fails: ErrNoLogs.Error()},
		"another kind of system": {goos: "plan9", exists: []string{unit}, fails: ErrNoLogs.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			h := host{goos: "linux", home: "/home/u", now: now, exists: func(path string) bool {
				for _, e := range tc.exists {
					if e == path {
						return true
					}
				}
				return false
			}}
			if tc.goos != "" {
				h.goos = tc.goos
			}
			got, err := h.choose(tc.w, tc.flags)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Errorf("choose = %+v, %v, want an error with %q", got, err, tc.fails)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(source{})); diff != "" || err != nil {
				t.Errorf("choose: %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestDirectory: each log file once, the oldest first, and nothing else of the directory.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"cloudflared.log": "3\n", "cloudflared-2026-11-28T18-00-00.000.log": "2\n", "cloudflared-2026-11-27T18-00-00.000.log": "1\n",
		"id_rsa": "hunter2\n", "cloudflared.pid": "4\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "cloudflared-x.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := (source{directory: dir}).read(t.Context(), &b); err != nil || b.String() != "1\n2\n3\n" {
		t.Errorf("read = %q, %v", b.String(), err)
	}
	if err := (source{directory: t.TempDir()}).read(t.Context(), &b); err == nil {
		t.Error("an empty directory is no error")
	}
	if err := (source{directory: filepath.Join(dir, "none")}).read(t.Context(), &b); err == nil {
		t.Error("a directory that does not exist is no error")
	}
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[int64]string{
		100: "one\ntwo\nthree\n",
		14:  "one\ntwo\nthree\n",
		7:   "(8 bytes before this are not included)\nthree\n",
	} {
		var b bytes.Buffer
		if err := copyTail(&b, path, limit); err != nil || b.String() != want {
			t.Errorf("copyTail with %d bytes = %q, %v, want %q", limit, b.String(), err, want)
		}
	}
	if err := copyTail(&bytes.Buffer{}, t.TempDir(), 1); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("copyTail of a directory: %v", err)
	}
}

func TestDestinations(t *testing.T) {
	vendor := []destination{
		{"region1.v2.argotunnel.com", false},
		{"region1.v2.argotunnel.com", true},
		{"region2.v2.argotunnel.com", false},
		{"region2.v2.argotunnel.com", true},
	}
	for name, tc := range map[string]struct {
		flags     map[string]string
		connected []string
		want      []destination
	}{
		"vendor": {nil, []string{"198.41.192.7"}, vendor},
		"own edge": {
			flags("edge", "[h:1]"),
			[]string{"192.0.2.1", "2001:db8::1", "192.0.2.1"},
			[]destination{{"192.0.2.1", false}, {"2001:db8::1", true}},
		},
		"own edge, not connected": {
			flags("edge", "[h:1 192.0.2.1:2 [::1]:3 -x:4]"), nil,
			[]destination{{"h", false}, {"h", true}, {"192.0.2.1", false}, {"::1", true}},
		},
		"region": {flags("region", "US"), nil, []destination{
			{"us-region1.v2.argotunnel.com", false},
			{"us-region1.v2.argotunnel.com", true},
			{"us-region2.v2.argotunnel.com", false},
			{"us-region2.v2.argotunnel.com", true},
		}},
	} {
		if diff := cmp.Diff(tc.want, destinations(tc.flags, tc.connected), cmp.AllowUnexported(destination{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
