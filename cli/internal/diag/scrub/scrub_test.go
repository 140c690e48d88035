package scrub_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/cli/internal/diag/scrub"
)

// TestLine: each line holds the word hunter2 in a place where a secret may stand.
func TestLine(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"headers as JSON": {
			`GET / headers={"Accept":["*/*"],"Authorization":["Bearer hunter2"],"Cookie":["a=hunter2; b=hunter2"],"Host":["h"]} n=1`,
			`GET / headers={"Accept":["*/*"],"Authorization":[***],"Cookie":[***],"Host":["h"]} n=1`,
		},
		"bracket in a header": {`{"Cookie":["a]hunter2","b"],"Host":["h"]}`, `{"Cookie":[***],"Host":["h"]}`},
		"headers as a map": {
			`map[Accept:[*/*] Authorization:[Basic hunter2] X-Api-Key:[hunter2] Host:[h]]`,
			`map[Accept:[*/*] Authorization:[***] X-Api-Key:[***] Host:[h]]`,
		},
		"header line": {`> Authorization: Digest username="hunter2", realm="hunter2"`, `> Authorization: ***`},
		"cookie line": {`Set-Cookie: id=hunter2; Path=/`, `Set-Cookie: ***`},
		"access token header": {
			`{"Cf-Access-Jwt-Assertion":["hunter2"],"Cf-Access-Client-Secret":["hunter2"]}`,
			`{"Cf-Access-Jwt-Assertion":[***],"Cf-Access-Client-Secret":[***]}`,
		},
		"nested quotes": {
			`{"message":"sent {\"password\":\"hunter2\",\"user\":\"bob\"}"}`,
			`{"message":"sent {\"password\":\"***\",\"user\":\"bob\"}"}`,
		},
		"twice nested": {
			`"a":"\"{\\\"token\\\":\\\"hunter2\\\",\\\"n\\\":1}\""`,
			`"a":"\"{\\\"token\\\":\\\"***\\\",\\\"n\\\":1}\""`,
		},
		"escaped quote":    {`{"password":"hun\"hunter2","n":1}`, `{"password":"***","n":1}`},
		"credentials file": {`"TunnelSecret": "hunter2hunter2hunter2=",`, `"TunnelSecret": "***",`},
		"decoded token":    {`{"a":"acc","s":"hunter2hunter2hunter2=","t":"id"}`, `{"a":"acc","s":"***","t":"id"}`},
		"token":            {`run --token eyJhIjoiaHVudGVyMiIsInQiOiJ4In0= now`, `run --token *** now`},
		"flag":             {`cmd --password hunter2 --name x`, `cmd --password *** --name x`},
		"flag with blanks": {`cmd --password "hunter2 hunter2" --token 'hunter2`, `cmd --password *** --token ***`},
		"flag with equals": {`cmd --api-key=hunter2 --name x`, `cmd --api-key=*** --name x`},
		"variable":         {`TUNNEL_TOKEN=hunter2 TUNNEL_URL=http://h`, `TUNNEL_TOKEN=*** TUNNEL_URL=http://h`},
		"single quotes":    {`password='hunter2 hunter2' n=1`, `password='***' n=1`},
		"origin": {
			`originService=http://bob:hunter2@h/x?access_token=hunter2&a=b`,
			`originService=http://bob:***@h/x?access_token=***&a=b`,
		},
		"quoted and cut off":   {`{"password":"hunter2`, `{"password":"***`},
		"list cut off":         {`{"Cookie":["hunter2`, `{"Cookie":[***]`},
		"known secret":         {`weird form of s3cr3t-hunter2 here`, `weird form of *** here`},
		"known secret in part": {`xs3cr3t-hunter2x`, `x***x`},
		"key on one line":      {`k="-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"`, `k="***`},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := scrub.New("s3cr3t-hunter2").Line(tc.in)
			if got != tc.want || !ok {
				t.Errorf("Line(%s)\n  = %s, %v\nwant %s", tc.in, got, ok, tc.want)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("Line(%s) = %s holds the secret", tc.in, got)
			}
		})
	}
}

// TestLineKeeps: what a bundle is for must stay in it.
func TestLineKeeps(t *testing.T) {
	for _, line := range []string{
		"",
		`2026-11-28T18:54:59Z INF Registered tunnel connection connIndex=0 connection=966ed197-dd53-438c-abd7-612049116fb8 event=0 ip=127.0.0.1`,
		`{"level":"error","error":"dial tcp 127.0.0.1:9: connect: connection refused","originService":"http://127.0.0.1:9","message":"x"}`,
		`promhttp_metric_handler_requests_total{code="200"} 5`,
		`cloudflared_tunnel_response_by_code{status_code="502"} 1`,
		`Settings: map[cacert:ca.pem credentials-file:/root/x.json token-file:/etc/token]`,
		`the key=value pair`,
		` 1  gw (192.0.2.1)  0.5 ms  0.6 ms *`,
	} {
		if got, ok := scrub.New().Line(line); got != line || !ok {
			t.Errorf("Line(%s) = %s, %v", line, got, ok)
		}
	}
}

func TestPrivateKeyOverLines(t *testing.T) {
	s := scrub.New()
	var got []string
	for _, line := range []string{
		"before", "key: -----BEGIN EC PRIVATE KEY-----", "hunter2", "-----END EC PRIVATE KEY-----", "after",
		"-----BEGIN ARGO TUNNEL TOKEN-----", "hunter2", "-----END ARGO TUNNEL TOKEN-----",
		"-----BEGIN CERTIFICATE-----", "public", "-----END CERTIFICATE-----",
	} {
		if masked, ok := s.Line(line); ok {
			got = append(got, masked)
		}
	}
	want := []string{"before", "key: ***", "after", "***", "-----BEGIN CERTIFICATE-----", "public", "-----END CERTIFICATE-----"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestJSON(t *testing.T) {
	in := `{"url":"http://bob:hunter2@h","uid":"0","n":12345678901234567890,"config":{"ingress":[{"service":"https://hunter2@h:1",` +
		`"originRequest":{"proxyPassword":"hunter2","pin":{"secret":12},"tokens":["hunter2"],"noTLSVerify":false,"x":null}}]}}`
	want := `{
  "config": {
    "ingress": [
      {
        "originRequest": {
          "noTLSVerify": false,
          "pin": {
            "secret": "***"
          },
          "proxyPassword": "***",
          "tokens": [
            "***"
          ],
          "x": null
        },
        "service": "https://***@h:1"
      }
    ]
  },
  "n": 12345678901234567890,
  "uid": "0",
  "url": "http://bob:***@h"
}`
	got, err := scrub.New().JSON([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	if _, err := scrub.New().JSON([]byte("404 page not found")); err == nil {
		t.Error("a text that is no JSON is accepted")
	}
}

// FuzzLine: no line makes it fail, and a secret that it knows is never left.
func FuzzLine(f *testing.F) {
	const secret = "s3cr3t-hunter2"
	for _, seed := range []string{
		`{"Cookie":["a]b","c"]}`, `"a":"\"{\\\"token\\\":\\\"x\\\"}\""`, `--token `, `password='`, "-----BEGIN PRIVATE KEY-----",
		`token="` + secret + `" ` + secret, `{"secret":{"x":1}}`, "secret=\\", `"token":`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		line = strings.ReplaceAll(line, secret, "") + "x"
		if got, _ := scrub.New(secret).Line(line + secret); strings.Contains(got, secret) {
			t.Errorf("Line(%q) = %q holds the secret", line+secret, got)
		}
		if got, _ := scrub.New().Line(`password="` + secret + `" ` + line); strings.Contains(got, secret) {
			t.Errorf("a value is left: %q", got)
		}
	})
}

// FuzzJSON: what comes out of a document is a document, without the secret.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a":[1,{"token":"x"}]}`)
	f.Add(`"http://u:p@h"`)
	f.Fuzz(func(t *testing.T, document string) {
		got, err := scrub.New().JSON([]byte(document))
		if err == nil && !json.Valid(got) {
			t.Errorf("JSON(%q) = %q", document, got)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	const line = `{"level":"debug","event":1,"connIndex":1,"originService":"hello_world","ingressRule":0,"host":"127.0.0.1:1","path":"/x",` +
		`"headers":{"Accept":["*/*"],"Authorization":["Bearer abcdefghijkl"],"User-Agent":["curl/7.88.1"]},"time":"2026-11-29T02:00:59Z"}`
	s := scrub.New()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		s.Line(line)
	}
}
