package connector_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/connector"
	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/config/cfdfile"
	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/ingress"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

func resolve(t *testing.T, file *cfdfile.File, env map[string]string, flags ...string) *settings.Settings {
	t.Helper()
	level := settings.NewLevel()
	for _, kv := range flags {
		name, text, _ := strings.Cut(kv, "=")
		for _, v := range level {
			if v.Flag.Name == name {
				if err := v.Set(text); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var keys map[string][]string
	if file != nil {
		keys = file.Flags
	}
	s, err := settings.Resolve([]settings.Level{level}, func(k string) string { return env[k] }, keys, "config.yml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func creds(n byte, account string) tunnel.Credentials {
	return tunnel.Credentials{AccountTag: account, Secret: tunnel.Secret(strings.Repeat("s", 32)), TunnelID: tunnel.ID{15: n}}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func parse(t *testing.T, text string) *cfdfile.File {
	t.Helper()
	f, err := cfdfile.Parse("config.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCredentialsPrecedence(t *testing.T) {
	home := t.TempDir()
	id := func(n byte) string { return tunnel.ID{15: n}.String() }
	at := func(parts ...string) string { return filepath.Join(append([]string{home}, parts...)...) }
	write(t, at("token"), []byte("\n"+credential.Token(creds(2, "tokenfile"))+"\n"))
	write(t, at("given.json"), credential.File(creds(3, "given")))
	write(t, at("cert", id(4)+".json"), credential.File(creds(4, "cert")))
	write(t, at(".cloudflared", id(5)+".json"), credential.File(creds(5, "home")))
	write(t, at(".culvert", id(6)+".json"), credential.File(creds(6, "own")))
	write(t, at("broken.json"), []byte("{"))
	named := func(context.Context, string) (tunnel.ID, error) { return tunnel.ID{15: 6}, nil }
	unknown := func(context.Context, string) (tunnel.ID, error) { return tunnel.ID{}, tunnel.ErrNotFound }
	token := credential.Token(creds(1, "token"))
	for name, tc := range map[string]struct {
		flags, args []string
		env         map[string]string
		file        string
		resolve     connector.Resolver
		account     string
		id          byte
		err         string
	}{
		"token flag wins": {
			flags: []string{"token=" + token, "token-file=" + at("token"), "credentials-file=" + at("given.json")},
			args:  []string{id(9)}, account: "token", id: 1,
		},
		"token variable": {env: map[string]string{"TUNNEL_TOKEN": token}, account: "token", id: 1},
		"token key":      {file: "token: " + token, account: "token", id: 1},
		"token file": {
			flags: []string{"token-file=" + at("token"), "credentials-file=" + at("given.json")}, account: "tokenfile",
			id: 2,
		},
		"token file variable": {env: map[string]string{"TUNNEL_TOKEN_FILE": at("token")}, account: "tokenfile", id: 2},
		"contents before file": {flags: []string{
			"credentials-contents=" + string(credential.File(creds(7, "contents"))),
			"credentials-file=" + at("given.json"),
		}, args: []string{"x"}, account: "contents", id: 7},
		"contents need a tunnel": {
			env: map[string]string{"TUNNEL_CRED_CONTENTS": string(credential.File(creds(7, "contents")))},
			err: "needs a token, or the ID",
		},
		"file, command's id": {flags: []string{"credentials-file=" + at("given.json")}, args: []string{id(8)}, account: "given", id: 8},
		"file, name":         {flags: []string{"credentials-file=~/given.json"}, args: []string{"web"}, account: "given", id: 3},
		"keys of the file":   {file: "tunnel: " + id(3) + "\ncredentials-file: " + at("given.json"), account: "given", id: 3},
		"argument before the key": {
			file: "tunnel: " + id(3) + "\ncredentials-file: " + at("given.json"), args: []string{id(8)},
			account: "given", id: 8,
		},
		"beside the certificate":   {flags: []string{"origincert=" + at("cert", "cert.pem")}, args: []string{id(4)}, account: "cert", id: 4},
		"default directory":        {args: []string{id(5)}, account: "home", id: 5},
		"own directory":            {args: []string{id(6)}, account: "own", id: 6},
		"name by the edge":         {args: []string{"web"}, resolve: named, account: "own", id: 6},
		"name unknown":             {args: []string{"web"}, resolve: unknown, err: `tunnel "web" is not an ID and could not be looked up`},
		"name without edge":        {args: []string{"web"}, err: `--credentials-file`},
		"nothing":                  {err: "needs a token"},
		"two arguments":            {args: []string{"a", "b"}, err: "only one argument"},
		"bad token":                {flags: []string{"token=hunter2"}, err: "token is not valid"},
		"bad token file":           {flags: []string{"token-file=" + at("broken.json")}, err: "broken.json is not valid"},
		"missing token file":       {flags: []string{"token-file=" + at("none")}, err: "no such file"},
		"missing credentials file": {flags: []string{"credentials-file=" + at("none")}, args: []string{id(1)}, err: "no such file"},
		"broken credentials file":  {flags: []string{"credentials-file=" + at("broken.json")}, args: []string{id(1)}, err: "broken.json: "},
		"credentials file nowhere": {args: []string{id(99)}, err: id(99) + ".json is in none of"},
	} {
		t.Run(name, func(t *testing.T) {
			var file *cfdfile.File
			if tc.file != "" {
				file = parse(t, tc.file)
			}
			src := connector.Source{Settings: resolve(t, file, tc.env, tc.flags...), File: file, Args: tc.args, Home: home, Resolve: tc.resolve}
			c, err := src.Credentials(t.Context())
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(),
					"\n") {
					t.Errorf("Credentials = %v, want one line with %q", err, tc.err)
				}
				return
			}
			if err != nil || c.AccountTag != tc.account || c.TunnelID != (tunnel.ID{15: tc.id}) {
				t.Errorf("Credentials = %s %s %v, want %s %d", c.AccountTag, c.TunnelID, err, tc.account, tc.id)
			}
		})
	}
}

func TestFindFile(t *testing.T) {
	home := t.TempDir()
	if _, err := connector.FindFile("", home); !errors.Is(err, connector.ErrNoFile) {
		t.Skipf("this machine has a configuration file of its own: %v", err)
	}
	if _, err := connector.FindFile(filepath.Join(home, "no.yml"), home); err == nil || err.Error() != "open "+filepath.Join(home,
		"no.yml")+": no such file or directory" {
		t.Errorf("missing explicit file: %v", err)
	}
	yaml := filepath.Join(home, "cloudflare-warp", "config.yaml")
	write(t, yaml, nil)
	if got, err := connector.FindFile("", home); got != yaml || err != nil {
		t.Errorf("FindFile = %s %v", got, err)
	}
	first := filepath.Join(home, ".cloudflared", "config.yml")
	write(t, first, nil)
	if got, err := connector.FindFile("", home); got != first || err != nil {
		t.Errorf("FindFile = %s %v", got, err)
	}
	if got, err := connector.FindFile("~/cloudflare-warp/config.yaml", home); got != yaml || err != nil {
		t.Errorf("FindFile(~) = %s %v", got, err)
	}
}

func TestRules(t *testing.T) {
	for name, tc := range map[string]struct {
		file    string
		flags   []string
		service string
		warning error
		err     string
	}{
		"file": {
			file: "ingress:\n- service: http://localhost:1\n", flags: []string{"url=http://localhost:2"},
			service: "http://localhost:1",
		},
		"flag":             {flags: []string{"url=localhost:2"}, service: "http://localhost:2"},
		"flag beside file": {file: "tunnel: x\n", flags: []string{"hello-world=true"}, service: "hello_world"},
		"key of the file":  {file: "url: http://localhost:3\n", service: "http://localhost:3"},
		"nothing":          {service: "http_status:503", warning: ingress.ErrNoRules},
		"rule after catch-all": {
			file: "ingress:\n- service: http://localhost:1\n- hostname: a.example.com\n  service: http://localhost:1\n",
			err:  "config.yml: rule #1: Rule #1 is matching the hostname '', but this will match every hostname",
		},
		"no catch-all": {
			file: "ingress:\n- hostname: a.example.com\n  service: http://localhost:1\n",
			err:  "config.yml: rule #1 (hostname a.example.com): The last ingress rule must match all URLs",
		},
		"bad url": {flags: []string{"url="}, err: "Error validating origin URL"},
	} {
		t.Run(name, func(t *testing.T) {
			var file *cfdfile.File
			if tc.file != "" {
				file = parse(t, tc.file)
			}
			set, warning, err := connector.Rules(resolve(t, file, nil, tc.flags...), file, false)
			if tc.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tc.err) {
					t.Errorf("Rules = %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || !errors.Is(warning, tc.warning) || set.Rules[0].Service.Text() != tc.service {
				t.Errorf("Rules = %v %v %v", set, warning, err)
			}
		})
	}
}
