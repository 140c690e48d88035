package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
	"github.com/culvert-tunnel/culvert/pkg/credential"
)

// Installer installs and removes the service on a host.
type Installer struct {
	// Root is the directory that stands for /. Another one than "" is a file system that does not run: no command is run.
	Root string
	// Name is the name of the service, Program the path of the binary.
	Name, Program string
	// Config is the configuration file that a flag names, "" for none, and Home the home directory of the user.
	Config, Home string
	// Say prints a line for the user.
	Say func(args ...any)
}

// at is a path of the host.
func (i Installer) at(path string) string { return filepath.Join("/", i.Root, path) }

// system recognizes the init system by what it leaves in the file system.
func (i Installer) system() system {
	exists := func(path string) bool {
		_, err := os.Stat(i.at(path))
		return err == nil
	}
	switch {
	case exists("/run/systemd/system"), i.Root != "" && exists("/usr/lib/systemd/systemd"), i.Root != "" && exists("/lib/systemd/systemd"):
		return systemd
	case exists("/sbin/openrc-run"), exists("/usr/sbin/openrc-run"), exists("/usr/bin/openrc-run"):
		return openRC
	default:
		return sysV
	}
}

// Install installs the service with the run token, or with the configuration file when the token is "". Nothing is changed when a
// service of the name is there already.
func (i Installer) Install(ctx context.Context, token string) error {
	on := i.system()
	s := service{name: i.Name, program: i.Program, token: token != ""}
	s.credentials = s.token && on == systemd && i.loadsCredentials(ctx)
	p := planFor(on, s)
	for _, name := range []string{"culvert", "cloudflared"} { // the other one would read the same token file
		for _, f := range planFor(on, service{name: name}).files {
			if _, err := os.Lstat(i.at(f.path)); err == nil {
				return fmt.Errorf("the service is installed already, at %s: one connector reaches any number of origins; to replace it, run "+
					"%s service uninstall first", i.at(f.path), name)
			}
		}
	}
	i.Say("init system:", p.system)
	if err := i.settings(token); err != nil {
		return err
	}
	if err := i.write(p); err != nil {
		return err
	}
	if i.Root == "" {
		for _, c := range p.install {
			if err := runCommand(ctx, c); err != nil {
				return err
			}
		}
	}
	i.Say("the service", i.Name, "is installed")
	return nil
}

// settings puts the token or the configuration file where the service reads it.
func (i Installer) settings(token string) error {
	if token != "" {
		if _, err := credential.ParseToken(token); err != nil {
			return fmt.Errorf("the token is not valid: %w", err)
		}
		return i.writeFile(file{tokenPath, 0o600, token})
	}
	source := i.Config
	if source == "" && i.Root != "" {
		source = i.at(configPath)
	}
	cfg, err := connector.ReadFile(source, i.Home)
	if errors.Is(err, connector.ErrNoFile) {
		return fmt.Errorf("no token and no configuration file: run %s service install TOKEN, or write %s", i.Name, configPath)
	}
	if err != nil {
		return err
	}
	if cfg.Tunnel == "" || cfg.CredentialsFile == "" {
		return fmt.Errorf("configuration file %s must name the tunnel and its credentials (tunnel: TUNNEL-UUID, credentials-file: FILE)",
			cfg.Path)
	}
	if filepath.Clean(cfg.Path) == i.at(configPath) {
		return nil
	}
	if _, err := os.Lstat(i.at(configPath)); err == nil {
		return fmt.Errorf("there are two configuration files, %s and %s: remove the second one, or install that one with %s --config %[2]s "+
			"service install", cfg.Path, i.at(configPath), i.Name)
	}
	text, err := os.ReadFile(cfg.Path)
	if err != nil {
		return err
	}
	return i.writeFile(file{configPath, 0o644, string(text)})
}

func (i Installer) write(p plan) error {
	for _, f := range p.files {
		if err := i.writeFile(f); err != nil {
			return err
		}
	}
	for _, l := range p.links {
		if err := os.MkdirAll(filepath.Dir(i.at(l.path)), 0o755); err != nil {
			return needRoot(err)
		}
		if err := os.Symlink(l.target, i.at(l.path)); err != nil && !errors.Is(err, fs.ErrExist) {
			return needRoot(err)
		}
	}
	return nil
}

// writeFile writes a file with exactly its mode, which an existing file takes before the text is in it.
func (i Installer) writeFile(f file) error {
	path := i.at(f.path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return needRoot(err)
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, f.mode)
	if err != nil {
		return needRoot(err)
	}
	err = out.Chmod(f.mode)
	if err == nil {
		err = out.Truncate(0)
	}
	if err == nil {
		_, err = out.WriteString(f.text)
	}
	return errors.Join(err, out.Close())
}

// Uninstall stops the service and removes it and its token. What is not there is skipped.
func (i Installer) Uninstall(ctx context.Context) error {
	p := planFor(i.system(), service{name: i.Name})
	i.Say("init system:", p.system)
	installed := false
	for _, f := range p.files {
		_, err := os.Lstat(i.at(f.path))
		installed = installed || err == nil
	}
	if !installed {
		i.Say("the service", i.Name, "is not installed, nothing to stop")
	}
	if installed && i.Root == "" {
		for _, c := range p.stop {
			if err := runCommand(ctx, c); err != nil {
				i.Say(err)
			}
		}
	}
	if err := i.remove(p, installed); err != nil {
		return err
	}
	if installed && i.Root == "" {
		for _, c := range p.removed {
			if err := runCommand(ctx, c); err != nil {
				return err
			}
		}
	}
	i.Say("the service", i.Name, "is removed")
	return nil
}

// remove removes the files and links of a plan, and the token when the service was installed: else it is that of another service.
func (i Installer) remove(p plan, token bool) error {
	var paths []string
	for _, f := range p.files {
		paths = append(paths, f.path)
	}
	for _, l := range p.links {
		paths = append(paths, l.path)
	}
	if token {
		paths = append(paths, tokenPath)
	}
	for _, path := range paths {
		if err := os.Remove(i.at(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return needRoot(err)
		}
	}
	return nil
}

// needRoot says what to do about a missing right.
func needRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; run this command as root (sudo)", err)
	}
	return err
}

// runCommand runs a command of the init system; its output is part of the error.
func runCommand(ctx context.Context, command []string) error {
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput() //nolint:gosec // the plan names it
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// loadsCredentials reports whether systemd is new enough to hand the token to the service. In another root directory its version is
// not known; there it is taken for new, as images that are built now are.
func (i Installer) loadsCredentials(ctx context.Context) bool {
	if i.Root != "" {
		return true
	}
	out, err := exec.CommandContext(ctx, "systemctl", "--version").Output()
	return err == nil && systemdVersion(string(out)) >= loadCredentialSince
}

var versionLine = regexp.MustCompile(`^systemd (\d{1,6})\b`)

// systemdVersion reads the output of systemctl --version; 0 when it is something else.
func systemdVersion(out string) int {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // at most six digits
	return n
}
