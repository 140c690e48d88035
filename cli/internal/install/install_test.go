package install

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func token() string {
	return credential.Token(tunnel.Credentials{
		AccountTag: "a", Secret: tunnel.Secret(strings.Repeat("s", 32)), TunnelID: tunnel.ID{15: 1},
	})
}

// hostWith is an installer for a file system that has the paths.
func hostWith(t *testing.T, paths ...string) Installer {
	t.Helper()
	root := t.TempDir()
	for _, p := range paths {
		write(t, filepath.Join(root, p), "")
	}
	return Installer{Root: root, Name: "culvert", Program: "/usr/bin/culvert", Home: t.TempDir(), Say: func(...any) {}}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // the mode that the test needs
		t.Fatal(err)
	}
}

// written lists the files and links below the root, with modes and texts.
func written(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, root)
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			all[name] = "-> " + target
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		all[name] = info.Mode().String() + "\n" + string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const systemdHere = "/usr/lib/systemd/systemd"

func TestInstallWithToken(t *testing.T) {
	secret := token()
	for name, c := range map[string]struct {
		has, script, mode string
		want              []string
	}{
		"systemd": {systemdHere, "/etc/systemd/system/culvert.service", "-rw-r--r--", []string{
			"ExecStart=/usr/bin/culvert --no-autoupdate tunnel run --token-file ${CREDENTIALS_DIRECTORY}/token\n",
			"LoadCredential=token:/etc/cloudflared/token\n", "DynamicUser=yes\n", "NoNewPrivileges=yes\n", "ProtectSystem=strict\n",
			"Type=notify\n", "WatchdogSec=60s\n",
		}},
		"OpenRC": {"/sbin/openrc-run", "/etc/init.d/culvert", "-rwxr-xr-x", []string{
			"command=\"/usr/bin/culvert\"\n", "command_args=\"--no-autoupdate tunnel run --token-file /etc/cloudflared/token\"\n",
			"${RC_SVCNAME}.pid", "retry=\"TERM/45/KILL/5\"\n",
		}},
		"System V": {"/etc/hostname", "/etc/init.d/culvert", "-rwxr-xr-x", []string{
			"nohup /usr/bin/culvert --no-autoupdate tunnel run --token-file /etc/cloudflared/token >>",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			i := hostWith(t, c.has)
			write(t, i.at(tokenPath), "an older and longer token than the new one"+strings.Repeat("x", 1000)) // readable by all
			if err := i.Install(t.Context(), secret); err != nil {
				t.Fatal(err)
			}
			files := written(t, i.Root)
			if got := files[tokenPath]; got != "-rw-------\n"+secret {
				t.Errorf("token file: %q", got)
			}
			delete(files, tokenPath)
			script := files[c.script]
			if !strings.HasPrefix(script, c.mode+"\n") {
				t.Errorf("mode of %s: %.10s, want %s", c.script, script, c.mode)
			}
			for _, want := range c.want {
				if !strings.Contains(script, want) {
					t.Errorf("%s lacks %q:\n%s", c.script, want, script)
				}
			}
			for path, text := range files {
				if strings.Contains(text, secret) {
					t.Errorf("the token is in %s", path)
				}
				if placeholder := regexp.MustCompile(`@[A-Z]+@`).FindString(text); placeholder != "" {
					t.Errorf("%s: %s is not filled in", path, placeholder)
				}
			}
			if name == "System V" && (files["/etc/rc3.d/S50culvert"] != "-> /etc/init.d/culvert" || files["/etc/rc6.d/K02culvert"] == "") {
				t.Errorf("no links: %v", files)
			}

			// A second installation changes nothing, not even the token.
			err := i.Install(t.Context(), token())
			if err == nil || !strings.Contains(err.Error(), "installed already, at "+i.at(c.script)) {
				t.Errorf("second installation: %v", err)
			}
			if err := i.Uninstall(t.Context()); err != nil {
				t.Fatal(err)
			}
			delete(files, c.has)
			if left := written(t, i.Root); len(left) != 1 {
				t.Errorf("left behind: %v", left)
			}
			write(t, i.at(tokenPath), "of another service")
			if err := i.Uninstall(t.Context()); err != nil {
				t.Errorf("removal of what is not there: %v", err)
			}
			if _, err := os.Stat(i.at(tokenPath)); err != nil {
				t.Errorf("token of another service: %v", err)
			}

			// cloudflared would read the same token file.
			write(t, i.at(strings.ReplaceAll(c.script, "culvert", "cloudflared")), "")
			if err := i.Install(t.Context(), secret); err == nil || !strings.Contains(err.Error(), "run cloudflared service uninstall first") {
				t.Errorf("installation beside cloudflared: %v", err)
			}
		})
	}
}

func TestInstallWithConfiguration(t *testing.T) {
	const good = "tunnel: 00000000-0000-0000-0000-000000000001\ncredentials-file: /root/c.json\n"
	elsewhere := filepath.Join(t.TempDir(), "config.yml")
	for name, c := range map[string]struct {
		there, elsewhere string
		err              string
	}{
		"in its place":      {there: good},
		"copied":            {elsewhere: good},
		"none":              {err: "no such file"},
		"two":               {there: good, elsewhere: good, err: "there are two configuration files"},
		"no tunnel":         {there: "credentials-file: /root/c.json\n", err: "must name the tunnel and its credentials"},
		"no credentials":    {there: "tunnel: x\n", err: "must name the tunnel and its credentials"},
		"broken":            {there: "tunnel: [\n", err: "config.yml"},
		"no such file":      {elsewhere: "-", err: "no such file"},
		"empty, no service": {there: "", err: "must name the tunnel and its credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			i := hostWith(t, systemdHere)
			if c.there != "" || name == "empty, no service" {
				write(t, i.at(configPath), c.there)
			}
			if c.elsewhere != "" {
				i.Config = elsewhere
				_ = os.Remove(elsewhere) // may not be there
			}
			if len(c.elsewhere) > 1 {
				write(t, elsewhere, c.elsewhere)
			}
			err := i.Install(t.Context(), "")
			unit := written(t, i.Root)["/etc/systemd/system/culvert.service"]
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || unit != "" {
					t.Errorf("Install() = %v, want %q; unit:\n%s", err, c.err, unit)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := "ExecStart=/usr/bin/culvert --no-autoupdate --config /etc/cloudflared/config.yml tunnel run\n"
			if !strings.Contains(unit, want) {
				t.Errorf("unit lacks %q:\n%s", want, unit)
			}
			if b, err := os.ReadFile(i.at(configPath)); err != nil || string(b) != good {
				t.Errorf("configuration: %q, %v", b, err)
			}
		})
	}
}

func TestInvalidTokenWritesNothing(t *testing.T) {
	i := hostWith(t, systemdHere)
	err := i.Install(t.Context(), "hunter2")
	if err == nil || !strings.Contains(err.Error(), "the token is not valid") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Install() = %v", err)
	}
	if files := written(t, i.Root); len(files) != 1 {
		t.Errorf("written: %v", files)
	}
}

// TestUnitIsValid: systemd itself accepts the units.
func TestUnitIsValid(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]service{
		"token":         {name: "culvert", program: program, token: true, credentials: true},
		"old systemd":   {name: "culvert", program: program, token: true},
		"configuration": {name: "culvert", program: program},
	} {
		t.Run(name, func(t *testing.T) {
			unit := filepath.Join(t.TempDir(), "culvert.service")
			write(t, unit, unitText(s))
			out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput()
			if err != nil || strings.Contains(string(out), "culvert.service:") {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
		})
	}
}

// TestSysVScript runs the script with a program that ends on SIGTERM.
func TestSysVScript(t *testing.T) {
	dir := t.TempDir()
	program, script := filepath.Join(dir, "program"), filepath.Join(dir, "script")
	write(t, program, "#!/bin/sh\nexec sleep 1000\n")
	text := sysVText(service{name: "culvert", program: program, token: true})
	text = strings.NewReplacer("/var/run", dir, "/var/log", dir, "/etc/default", dir, "/etc/sysconfig", dir).Replace(text)
	write(t, script, text)
	for _, path := range []string{program, script} {
		if err := os.Chmod(path, 0o755); err != nil { //nolint:gosec // scripts
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = exec.Command(script, "stop").Run() })
	for _, step := range []struct {
		do, says string
		code     int
	}{
		{"status", "culvert is not running", 3},
		{"start", "Starting culvert", 0},
		{"start", "culvert is running", 0},
		{"status", "culvert is running", 0},
		{"restart", "Starting culvert", 0},
		{"stop", "Stopping culvert", 0},
		{"stop", "culvert is not running", 0},
		{"dance", "Usage:", 2},
	} {
		var out bytes.Buffer
		cmd := exec.Command(script, step.do)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the exit code is looked at
		if cmd.ProcessState.ExitCode() != step.code || !strings.Contains(out.String(), step.says) {
			t.Errorf("%s: exit code %d, want %d; says %q, want %q", step.do, cmd.ProcessState.ExitCode(), step.code, out.String(), step.says)
		}
	}
	testkit.Eventually(t, "no pid file", func() bool {
		_, err := os.Stat(filepath.Join(dir, "culvert.pid"))
		return os.IsNotExist(err)
	})
}

// TestOpenRCScript runs the script in a shell that has what openrc-run gives it, and shows what would be started and how it is reloaded.
func TestOpenRCScript(t *testing.T) {
	dir := t.TempDir()
	script, daemon := filepath.Join(dir, "script"), filepath.Join(dir, "supervise-daemon")
	write(t, script, openRCText(service{name: "culvert", program: "/usr/bin/culvert", token: true}))
	write(t, daemon, "#!/bin/sh\necho supervise-daemon \"$@\"\n")
	if err := os.Chmod(daemon, 0o755); err != nil { //nolint:gosec // a script
		t.Fatal(err)
	}
	const openRC = `set -eu
RC_SVCNAME=culvert
ebegin() { echo "begin: $*"; }
eend() { echo "end: $1"; }
need() { echo "need: $*"; }
use() { echo "use: $*"; }
after() { echo "after: $*"; }
. "$1"
depend
echo "$supervisor $command $command_args"
echo "user $command_user, retry $retry, pid $pidfile"
reload`
	cmd := exec.Command("sh", "-c", openRC, "openrc-run", script)
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	want := `need: net
use: dns logger
after: firewall
supervise-daemon /usr/bin/culvert --no-autoupdate tunnel run --token-file /etc/cloudflared/token
user root, retry TERM/45/KILL/5, pid /run/culvert.pid
begin: Reloading culvert
supervise-daemon culvert --signal HUP --pidfile /run/culvert.pid
end: 0
`
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

func TestSystemdVersion(t *testing.T) {
	for out, want := range map[string]int{
		"systemd 252 (252.38-1~deb12u1)\n+PAM": 252, "systemd 239 (239-78.el8)": 239, "": 0, "upstart 1": 0, "systemd x": 0, "systemd 9999999": 0,
	} {
		if got := systemdVersion(out); got != want {
			t.Errorf("systemdVersion(%q) = %d, want %d", out, got, want)
		}
	}
}

func FuzzSystemdVersion(f *testing.F) {
	f.Add("systemd 252 (252.38-1~deb12u1)")
	f.Fuzz(func(t *testing.T, out string) {
		if n := systemdVersion(out); n < 0 || n > 999999 {
			t.Errorf("systemdVersion(%q) = %d", out, n)
		}
	})
}
