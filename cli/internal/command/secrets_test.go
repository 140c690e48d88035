package command_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/cli/internal/settings"
	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/redact"
	"github.com/culvert-tunnel/culvert/pkg/testkit"
)

const (
	// planted is the secret that the tests put wherever a secret can be, and look for wherever something is shown.
	planted = "Hunter2Hunter2Hunter2Hunter2xxxx"
	// plantedURL has it in each part of a URL that may hold a secret.
	plantedURL = "http://user:" + planted + "@origin.example.com/?token=" + planted
)

// checkShown fails when text shows a secret, as it is or in an encoding.
func checkShown(t *testing.T, what, text string, secrets ...string) {
	t.Helper()
	for _, s := range append([]string{planted}, secrets...) {
		for _, form := range []string{
			s, url.QueryEscape(s), base64.StdEncoding.EncodeToString([]byte(s)), strings.TrimRight(base64.RawURLEncoding.EncodeToString([]byte(s)),
				"="),
		} {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("%s shows a secret: %q", what, text[max(0, at-120):min(len(text), at+len(form)+20)])
				break
			}
		}
	}
}

// serviceSetting finds the variables in the help text of a service.
var serviceSetting = regexp.MustCompile(`(?m)^  (?:--(\S+)|\(no flag\)).*\((CULVERT_[A-Z0-9_]+); default`)

// TestSettingsShowNoSecret gives each setting of each process a value with a secret, in each way that it can be given.
func TestSettingsShowNoSecret(t *testing.T) {
	t.Chdir(t.TempDir()) // some values are names of files to write
	show := func(what string, env []string, args ...string) {
		t.Helper()
		_, stdout, stderr := run(t, env, args...)
		checkShown(t, what, stdout+stderr)
	}
	for _, service := range []string{"discovery", "supervisor", "conn-worker", "proxy", "edge"} {
		_, help, _ := run(t, nil, service, "--help")
		rows := serviceSetting.FindAllStringSubmatch(help, -1)
		if len(rows) < 10 {
			t.Fatalf("%s --help lists %d settings", service, len(rows))
		}
		flags := []string{service, "config"}
		for _, row := range rows {
			show(service+" config with "+row[2], []string{row[2] + "=" + plantedURL}, service, "config")
			if row[1] != "" {
				flags = append(flags, "--"+row[1]+"="+plantedURL)
			}
		}
		show(service+" config with all flags", nil, flags...) // it reports every fault
	}
	show("conn-worker with a token", []string{"TUNNEL_TOKEN=" + planted, "CULVERT_REDIS_URL=redis://127.0.0.1:1"}, "conn-worker")
	show("conn-worker with a token", []string{"CULVERT_CREDENTIALS_TOKEN=" + planted, "CULVERT_REDIS_URL=redis://127.0.0.1:1"}, "conn-worker")
	show("conn-worker config with a token", []string{"CULVERT_CREDENTIALS_TOKEN=" + planted}, "conn-worker", "config")
	showFlags(t, show)
	for _, name := range []string{
		"url", "listen", "data-dir", "redis", "link-listen", "link-certs", "metrics", "grace-period", "loglevel",
		"config",
	} {
		show("up --"+name, nil, "up", "--metrics", "nonsense", "--"+name, plantedURL)
	}
	for _, name := range []string{"edge-admin", "edge-admin-token-file", "edge-admin-ca", "data-dir"} {
		show("tunnel list --"+name, nil, "tunnel", "list", "--"+name, plantedURL)
	}
	show("tunnel list at https", nil, "tunnel", "list", "--edge-admin", "https://user:"+planted+"@127.0.0.1:1")
	show("healthcheck", nil, "healthcheck", "--url", "http://user:"+planted+"@127.0.0.1:1/")
}

// showFlags gives each flag of the connector a value with a secret: on the command line, in its variables, and in the file. A text is
// accepted and logged; any other flag is an error, of which the command line reports only the first.
func showFlags(t *testing.T, show func(what string, env []string, args ...string)) {
	t.Helper()
	run := []string{"tunnel", "run", "--loglevel=debug", "--metrics=nonsense"}
	texts, env, bad, file := slices.Clone(run), []string{}, []string{}, ""
	for _, f := range settings.Table() {
		value := plantedURL
		if f.Secret && f.Name != "redis" {
			value = planted
		}
		accepted := f.Kind == settings.Text || f.Kind == settings.List
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			switch {
			case !accepted:
				show("tunnel run --"+name, nil, append(run, "--"+name+"="+value)...)
			case name != "config" && name != "loglevel" && name != "metrics" && name != "output":
				texts = append(texts, "--"+name+"="+value)
			}
		}
		for _, name := range f.Env {
			if accepted {
				env = append(env, name+"="+value)
			} else {
				bad = append(bad, name+"="+value)
			}
		}
		if accepted {
			file += f.Name + ": " + value + "\n"
		}
	}
	show("tunnel run with all texts", nil, append(texts, "web")...)
	show("tunnel run with all variables of texts", env, "tunnel", "run", "--loglevel=debug", "--output=json", "web")
	show("tunnel run with all other variables", bad, append(run, "web")...)
	writeFile(t, "config.yml", file)
	show("tunnel run with all keys", nil, "tunnel", "--config", "config.yml", "run", "--loglevel=debug", "--metrics=nonsense", "web")
	writeFile(t, "config.yml", "ingress:\n- hostname: a.example.com\n  service: "+plantedURL+"\n- service: "+plantedURL+"\n"+plantedURL+": "+
		"1\n")
	show("tunnel run with rules", nil, "tunnel", "--config", "config.yml", "run", "--loglevel=debug", "--metrics=nonsense", "web")
	show("ingress validate", nil, "tunnel", "--config", "config.yml", "ingress", "validate")
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
}

// TestRunningProcessesShowNoSecret runs every process with secrets in its settings, files and rules, lets requests succeed and
// fail, and looks for the secrets in what the processes print, in all of their private endpoints, and in the store.
func TestRunningProcessesShowNoSecret(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		writeFile(t, filepath.Join(dir, name), text)
		return filepath.Join(dir, name)
	}
	storeDir := t.TempDir()
	store := startRedis(t, "--dir", storeDir, "--requirepass", planted, "--appendonly", "yes", "--aof-use-rdb-preamble", "no",
		"--appendfsync", "no") // what is in the file matters, and a busy disk would hold the server up
	redisURL := strings.Replace(store, "redis://", "redis://:"+planted+"@", 1)
	e := startEdge(t)
	creds, _ := e.BootstrapCredentials()
	secrets := []string{e.token, string(creds.Secret)}
	credentials := file("credentials.json", string(credential.File(creds)))
	const dead = "http://user:" + planted + "@127.0.0.1:1"
	rules := "ingress:\n- hostname: a.example.com\n  service: " + dead + "\n  originRequest: {httpHostHeader: a.example.com}\n" +
		"- hostname: b.example.com\n  service: tcp://user:" + planted + "@127.0.0.1:1\n- service: hello_world\n"
	token, opsToken, socket := file("token", e.token+"\n"), file("ops-token", planted), "unix:"+filepath.Join(dir, "proxy.sock")
	var edges []string
	for _, a := range e.ConnectorAddrs() {
		edges = append(edges, a.String())
	}
	env := []string{"CULVERT_REDIS_URL=" + redisURL, "CULVERT_OPS_TOKEN_FILE=" + opsToken, "CULVERT_LOG_LEVEL=debug"}
	edgeDir := t.TempDir()
	connector := append([]string{"tunnel", "--cacert", e.CACertPath(), "--loglevel", "debug", "--edge", strings.Join(edges, ",")}, "run")
	type process struct {
		name, ops string
		env, args []string
		*program
	}
	processes := []*process{
		{name: "edge", env: env, args: []string{
			"edge", "--data-dir", edgeDir, "--public.http", "127.0.0.1:0", "--connectors.listen", "127.0.0.1:0", "--bootstrap.tunnel", "web",
			"--bootstrap.token-file", filepath.Join(edgeDir, "token"), "--admin.listen", "127.0.0.1:0", "--admin.token-file", file("admin-token",
				planted),
		}},
		{name: "discovery", env: env, args: []string{"discovery", "--static", strings.Join(edges, ",")}},
		{name: "supervisor", env: env, args: []string{"supervisor"}},
		{name: "proxy", env: env, args: []string{"proxy", "--listen", socket, "--config-file", file("rules.yml", rules)}},
		{name: "conn-worker", env: env, args: []string{
			"conn-worker", "--credentials.token-file", token, "--edge.cacert", e.CACertPath(), "--link.socket-dir", dir, "--grace-period", "1s",
		}},
		{name: "tunnel run with a file", env: []string{"TUNNEL_CRED_FILE=" + credentials}, args: append(connector, "--config", file("run.yml",
			rules), creds.TunnelID.String())},
		{name: "tunnel run with a token", env: []string{"TUNNEL_TOKEN=" + e.token}, args: append(connector, "--url", dead)},
		{name: "tunnel run with credentials", env: []string{"TUNNEL_CRED_CONTENTS=" + string(credential.File(creds))}, args: append(connector,
			"--url", dead, creds.TunnelID.String())},
		{name: "up", args: []string{"up", "--loglevel", "debug", "--listen", "127.0.0.1:0", "--redis", redisURL + "/1", "--url", dead}},
	}
	c := client(t)
	for _, p := range processes {
		p.ops = testkit.FreeTCP(t).String()
		flag := "--ops.listen"
		if p.args[0] == "tunnel" || p.args[0] == "up" {
			flag = "--metrics"
		}
		args := append([]string{p.args[0], flag, p.ops}, p.args[1:]...)
		p.program = start(t, p.env, args...)
		testkit.Eventually(t, p.name+" is alive", func() bool {
			status, _ := fetch(t, c, "http://"+p.ops+"/healthz", "")
			return status == http.StatusOK
		})
	}
	served := map[string]string{} // the URL through which a process serves requests
	for _, p := range processes {
		switch p.args[0] {
		case "up":
			served[p.name] = p.line(t, "Public URL:")
		case "proxy", "tunnel":
			served[p.name] = e.PublicURL()
		}
	}
	for _, p := range processes {
		if public := served[p.name]; public != "" {
			testkit.Eventually(t, p.name+" logs that its origin is unreachable", func() bool { // the edge spreads requests over the connectors
				_, body := fetch(t, c, public+"/", "a.example.com")
				checkShown(t, "a response", body, secrets...)
				_, body = fetch(t, c, public+"/", "b.example.com")
				checkShown(t, "a response", body, secrets...)
				return len(p.linesWith("127.0.0.1:1: connect: connection refused")) > 0
			})
		}
	}
	admin := []string{"CULVERT_EDGE_ADMIN=unix:" + e.AdminSocket()}
	if code, _, stderr := run(t, admin, "tunnel", "config", "set", "web", file("push.yml", rules)); code > 1 {
		t.Errorf("config set: exit %d: %s", code, stderr)
	}
	admin = []string{"CULVERT_EDGE_ADMIN=unix:" + filepath.Join(edgeDir, "admin.sock")}
	if code, _, stderr := run(t, admin, "tunnel", "config", "set", "web", filepath.Join(dir, "push.yml")); code != 0 {
		t.Errorf("config set at the edge without connectors: exit %d: %s", code, stderr)
	}
	for _, p := range processes {
		for _, path := range []string{
			"/healthz", "/readyz", "/ready", "/metrics", "/config", "/quicktunnel", "/diag/tunnel", "/diag/configuration",
			"/v1/config", "/v1/proxy", "/v1/connections", "/v1/slots", "/v1/pool",
			"/v1/edge/tunnels", "/v1/edge/tunnels/web", "/v1/edge/tunnels/web/configuration", "/v1/edge/routes", "/v1/edge/connections",
			"/v1/nothing",
			"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2",
		} {
			_, body := fetch(t, c, "http://"+p.ops+path, "")
			checkShown(t, p.name+": GET "+path, body, secrets...)
		}
	}
	for i := len(processes) - 1; i >= 0; i-- {
		p := processes[i]
		p.stop(t)
		checkShown(t, p.name+": standard error", p.log(), secrets...)
		for line := range p.lines {
			checkShown(t, p.name+": standard output", line, secrets...)
		}
	}
	logged := filepath.Join(storeDir, "appendonlydir")
	entries, err := os.ReadDir(logged)
	if err != nil {
		t.Fatalf("log of the store: %v", err)
	}
	for _, f := range entries {
		text := readFile(t, filepath.Join(logged, f.Name()))
		checkShown(t, "the store", text, secrets...)
		if strings.Contains(f.Name(), ".incr.") && !strings.Contains(text, creds.TunnelID.String()) {
			t.Errorf("%s of the store has no trace of the tunnel: nothing was written", f.Name())
		}
	}
	if !strings.Contains(redact.Text(plantedURL), redact.Mask) {
		t.Errorf("redact.Text(%q) masks nothing", plantedURL)
	}
}
