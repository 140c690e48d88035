package redact_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/culvert-tunnel/culvert/pkg/redact"
)

func TestURL(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"no secret":              {"http://localhost:8080/a?b=c#d", "http://localhost:8080/a?b=c#d"},
		"at sign in path":        {"http://localhost:8080/@me", "http://localhost:8080/@me"},
		"user and password":      {"http://user:hunter2@host/x", "http://user:***@host/x"},
		"password alone":         {"redis://:hunter2@host:1/0", "redis://:***@host:1/0"},
		"user alone":             {"https://hunter2@host", "https://***@host"},
		"escaped password":       {"http://u:hun%40ter2@host", "http://u:***@host"},
		"at sign in password":    {"http://u:hun@ter2@host", "http://u:***@host"},
		"slash in password":      {"http://u:hunter2/x@host/y", "http://u:***@host/y"},
		"query in password":      {"http://u:hunter2?x@host/y", "http://u:***@host/y"},
		"no scheme":              {"user:hunter2@host:80/path", "user:***@host:80/path"},
		"IPv6 host":              {"http://u:hunter2@[::1]:80/", "http://u:***@[::1]:80/"},
		"IPv6 host without user": {"http://[::1]:80/@x", "http://[::1]:80/@x"},
		"unix socket":            {"unix:/run/x.sock", "unix:/run/x.sock"},
		"token parameter":        {"http://host/?access_token=hunter2&a=b", "http://host/?access_token=***&a=b"},
		"token in fragment":      {"http://host/#id_token=hunter2", "http://host/#id_token=***"},
		"address":                {"127.0.0.1:80", "127.0.0.1:80"},
		"empty":                  {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := redact.URL(tc.in); got != tc.want {
				t.Errorf("URL(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"plain":         {"lease 3 lost: fenced", "lease 3 lost: fenced"},
		"quoted URL":    {`Get "http://u:hunter2@h/": EOF`, `Get "http://u:***@h/": EOF`},
		"two URLs":      {"a://u:hunter2@h b://v:hunter2@i", "a://u:***@h b://v:***@i"},
		"parse error":   {`parse "u:hunter2@h": first path segment`, `parse "u:***@h": first path segment`},
		"bearer":        {"Authorization: Bearer abcdefgh.123", "Authorization: Bearer ***"},
		"tunnel token":  {"token eyJhIjoiMTIzNDU2Nzg5MCIsInQiOiJ4In0= bad", "token *** bad"},
		"e-mail":        {"mail to a@b.example", "mail to a@b.example"},
		"image digest":  {"redis@sha256:0123", "redis@sha256:0123"},
		"query of path": {"GET /x?password=hunter2 HTTP/1.1", "GET /x?password=*** HTTP/1.1"},
		"later query":   {"/x?a=b&c==&password=hunter2", "/x?a=b&c==&password=***"},
		"matrix":        {"/x;api-key=hunter2/y", "/x;api-key=***"},
		"quality":       {"text/html;q=0.9, a=token;b=key", "text/html;q=0.9, a=token;b=key"},
		"no name":       {"token=hunter2 é=1 ?=2", "token=hunter2 é=1 ?=2"},
		"upper case":    {"x BASIC dXNlcjpodW50ZXIy", "x BASIC ***"},
		"short word":    {"b be ba basic e-mail", "b be ba basic e-mail"},
	} {
		t.Run(name, func(t *testing.T) {
			got := redact.Text(tc.in)
			if got != tc.want {
				t.Errorf("Text(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestSetting(t *testing.T) {
	for name, secret := range map[string]bool{
		"redis.password": true, "password_file": false, "TUNNEL_TOKEN": true, "token-file": false, "api_key": true, "key": true,
		"keys": false, "tls.key_file": false, "url": false, "secret": true, "keepAliveTimeout": false, "credentials-contents": true,
	} {
		if got := redact.SecretName(name); got != secret {
			t.Errorf("SecretName(%q) = %v, want %v", name, got, secret)
		}
	}
	if got := redact.Setting("api_key", "hunter2"); got != redact.Mask {
		t.Errorf("Setting = %q", got)
	}
	if got := redact.Setting("url", "http://u:hunter2@h"); got != "http://u:***@h" {
		t.Errorf("Setting = %q", got)
	}
}

func TestErrorKeepsItsChain(t *testing.T) {
	err := redact.Error(&fs.PathError{Op: "open", Path: "http://u:hunter2@h", Err: fs.ErrNotExist})
	if strings.Contains(err.Error(), "hunter2") || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Error = %v", err)
	}
	if redact.Error(nil) != nil {
		t.Error("Error(nil) is not nil")
	}
}

func FuzzText(f *testing.F) {
	f.Add("http://user:hunter2@host/?token=x Bearer abcdefgh")
	f.Add("a:b@c://d:e@f?key=g#pass=h")
	f.Fuzz(func(t *testing.T, s string) {
		_ = redact.Text(s)
		_ = redact.URL(s) // neither must panic
		login := redact.Text("http://user:hunter2secret@host/" + strings.ReplaceAll(s, "hunter2secret", ""))
		if strings.Contains(login, "hunter2secret") {
			t.Errorf("password shown: %q", login)
		}
	})
}

func TestPasswordHashesAreMasked(t *testing.T) {
	const hash = "$2a$04$NTXwwoTF2f484AAamrajB.CK39VAab2iogZxW04hNx7Dd22vcCEgy"
	got := redact.Text(`{"users":{"alice":"` + hash + `","bob":"$2 and a price of $20"}}`)
	if want := `{"users":{"alice":"***","bob":"$2 and a price of $20"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
