package command_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/opsclient"
	"github.com/culvert-tunnel/culvert/pkg/rules"
)

// TestConfigurationsOfOneProcess: an operator puts a configuration in force, compares it, and goes back.
func TestConfigurationsOfOneProcess(t *testing.T) {
	o := startOperated(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	serves := func(want string) {
		t.Helper()
		if _, body := fetch(t, o.client, "http://"+o.metrics+"/config", ""); !strings.Contains(body, want) {
			t.Errorf("in force: %s, want %s", body, want)
		}
	}
	versions := func(args ...string) opsclient.Configurations {
		t.Helper()
		var all opsclient.Configurations
		out := o.must(append([]string{"config"}, append(args, "-o", "json")...)...)
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		return all
	}
	shop := file("shop.yml", "ingress:\n- {hostname: shop.test, service: http://user:pass@localhost:8001}\n- service: http_status:404\n")
	one := versions("apply", o.tunnel, shop).Newest()
	if one.Number == 0 || one.Author != "ann" {
		t.Fatalf("apply: %+v", one)
	}
	serves("shop.test")
	blog := file("blog.json", `{"ingress":[{"hostname":"blog.test","service":"http://localhost:8002"},{"service":"http_status:404"}]}`)
	out := o.must("config", "diff", o.tunnel, blog)
	if !strings.Contains(out, `-      "hostname": "shop.test"`) ||
		!strings.Contains(out, `+      "hostname": "blog.test"`) {
		t.Errorf("diff: %s", out)
	}
	two := versions("apply", o.tunnel, blog, "--if-version", strconv.FormatUint(one.Number, 10)).Newest()
	serves("blog.test")
	number := strconv.FormatUint(one.Number, 10)
	if out := o.must("config", "diff", o.tunnel, number); !strings.Contains(out, `+      "hostname": "blog.test"`) {
		t.Errorf("diff with the newest: %s", out)
	}
	if out := o.must("config", "show", o.tunnel, number); !strings.Contains(out, "user:pass") {
		t.Errorf("show: %s", out)
	}
	three := versions("rollback", o.tunnel, number)
	if v := three.Newest(); v.RestoredFrom != one.Number || v.Hash != one.Hash || v.Number <= two.Number ||
		three.Proxies[0].State != rules.InForce {
		t.Errorf("rollback: %+v", three)
	}
	serves("shop.test")
	if out := o.must("config", "history", o.tunnel); strings.Count(out, "ann") != 3 || !strings.Contains(out, "in force") ||
		!strings.Contains(out, "flags, all tunnels") {
		t.Errorf("history: %s", out)
	}
	missing := file("missing.yml", "ingress:\n- {service: https://h, originRequest: {caPool: "+filepath.Join(dir, "none.pem")+"}}\n")
	code, out, stderr := run(t, o.env, "config", "apply", o.tunnel, missing)
	if code != 1 || !strings.Contains(out, "rejected") || !strings.Contains(out, "none.pem") || !strings.Contains(stderr, "not every proxy") {
		t.Errorf("a document that no proxy can use: exit %d, %s, %s", code, out, stderr)
	}
	serves("shop.test")
	o.refused("it has version", "config", "apply", o.tunnel, blog, "--if-version", number)
	o.refused("not found", "config", "rollback", o.tunnel, "5")
	o.refused("config history lists them", "config", "rollback", o.tunnel, "first")
	o.refused("bad.yml", "config", "apply", o.tunnel, file("bad.yml", "ingress:\n- service: nonsense\n"))
}
