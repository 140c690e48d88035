package credential_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/culvert-tunnel/culvert/pkg/credential"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// plain is Credentials without the redaction, so that a comparison shows and compares everything.
type plain struct {
	AccountTag string
	Secret     []byte
	TunnelID   tunnel.ID
	Endpoint   string
}

func plainOf(c tunnel.Credentials) plain {
	return plain{c.AccountTag, c.Secret, c.TunnelID, c.Endpoint}
}

func loadVectors[V any](t testing.TB, name string) []V {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []V `json:"vectors"`
	}
	if err := json.Unmarshal(b, &file); err != nil || len(file.Vectors) == 0 {
		t.Fatalf("%s: %d vectors, %v", name, len(file.Vectors), err)
	}
	return file.Vectors
}

func credentials(t testing.TB, account, secretHex, id, endpoint string) tunnel.Credentials {
	t.Helper()
	secret, err := hex.DecodeString(secretHex)
	if err != nil {
		t.Fatal(err)
	}
	tunnelID, err := tunnel.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return tunnel.Credentials{AccountTag: account, Secret: secret, TunnelID: tunnelID, Endpoint: endpoint}
}

func wantEqual(t *testing.T, call string, want, got tunnel.Credentials) {
	t.Helper()
	if diff := cmp.Diff(plainOf(want), plainOf(got), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", call, diff)
	}
}

func TestTokenVectors(t *testing.T) {
	type result struct {
		AccountTag string `json:"account_tag"`
		Endpoint   string `json:"endpoint"`
		TunnelID   string `json:"tunnel_id"`
		Secret     string `json:"tunnel_secret_hex"`
	}
	type vector struct {
		result
		Op     string  `json:"op"`
		Name   string  `json:"name"`
		File   string  `json:"credentials_file_json"`
		Token  string  `json:"token"`
		JSON   string  `json:"token_json"`
		Result *result `json:"result"`
		Error  string  `json:"error"`
	}
	for _, v := range loadVectors[vector](t, "tunnel_token") {
		got, err := credential.ParseToken(v.Token)
		switch {
		case v.Op == "encode":
			want := credentials(t, v.AccountTag, v.Secret, v.TunnelID, v.Endpoint)
			if token := credential.Token(want); token != v.Token {
				t.Errorf("Token = %s, want %s", token, v.Token)
			}
			if inner, _ := base64.StdEncoding.DecodeString(credential.Token(want)); string(inner) != v.JSON {
				t.Errorf("Token holds %s, want %s", inner, v.JSON)
			}
			if file := credential.File(want); string(file) != v.File {
				t.Errorf("File = %s, want %s", file, v.File)
			}
			if err != nil {
				t.Errorf("ParseToken(%s): %v", v.JSON, err)
			}
			wantEqual(t, "ParseToken of "+v.JSON, want, got)
		case v.Result != nil:
			if err != nil {
				t.Errorf("ParseToken(%s): %v", v.Name, err)
				continue
			}
			want := credentials(t, v.Result.AccountTag, v.Result.Secret, v.Result.TunnelID, v.Result.Endpoint)
			wantEqual(t, "ParseToken of "+v.Name, want, got)
		case err == nil:
			t.Errorf("ParseToken(%s): no error, the reference says %s", v.Name, v.Error)
		}
	}
}

func TestFileVectors(t *testing.T) {
	type vector struct {
		Name   string `json:"name"`
		JSON   string `json:"json"`
		Error  string `json:"error"`
		Result struct {
			AccountTag string
			Endpoint   string
			TunnelID   string
			Secret     string `json:"TunnelSecret_hex"`
		} `json:"result"`
	}
	for _, v := range loadVectors[vector](t, "credentials_file") {
		got, err := credential.ParseFile([]byte(v.JSON))
		if (err != nil) != (v.Error != "") {
			t.Errorf("ParseFile(%s): error %v, the reference says %q", v.Name, err, v.Error)
		}
		if err == nil {
			wantEqual(t, "ParseFile of "+v.Name, credentials(t, v.Result.AccountTag, v.Result.Secret, v.Result.TunnelID, v.Result.Endpoint), got)
		}
	}
}

func TestAccountHash(t *testing.T) {
	type vector struct {
		Tag  string `json:"account_tag"`
		Hash uint8  `json:"account_hash"`
	}
	for _, v := range loadVectors[vector](t, "account_hash") {
		if got := credential.AccountHash(v.Tag); got != v.Hash {
			t.Errorf("AccountHash(%q) = %d, want %d", v.Tag, got, v.Hash)
		}
	}
}

func TestLineBreaksAreIgnored(t *testing.T) {
	want := credentials(t, "a<b>&c", "a5a5a5", "f1f2f3f4-0001-4002-8003-000000000004", "us")
	token := credential.Token(want)
	got, err := credential.ParseToken(token[:7] + "\r\n" + token[7:] + "\n")
	if err != nil {
		t.Fatalf("ParseToken: %v", err)
	}
	wantEqual(t, "ParseToken", want, got)
	if inner, _ := base64.StdEncoding.DecodeString(token); !bytes.Contains(inner, []byte("a<b>&c")) {
		t.Errorf("Token escapes HTML characters: %s", inner)
	}
}

// TestErrorsHideTheSecret gives every kind of broken input with a recognisable secret in it.
func TestErrorsHideTheSecret(t *testing.T) {
	const secret, id = "c2VjcmV0U0VDUkVU", `"f1f2f3f4-0001-4002-8003-000000000004"`
	for name, tc := range map[string]struct{ json, want string }{
		"secret broken":     {`{"AccountTag":"a","TunnelSecret":"` + secret + `*","TunnelID":` + id + `}`, "secret is not standard base64"},
		"secret a number":   {`{"TunnelSecret":12345678}`, "secret is not"},
		"secret as id":      {`{"TunnelSecret":"AQ==","TunnelID":"` + secret + `"}`, "tunnel id is not a UUID"},
		"account a number":  {`{"AccountTag":12345678,"TunnelSecret":"` + secret + `"}`, "field AccountTag"},
		"text":              {`"` + secret + `"`, "not a JSON object"},
		"no quotes":         {`{"TunnelSecret":` + secret + `}`, "syntax error at byte"},
		"cut":               {`{"TunnelSecret":"` + secret, "syntax error at byte"},
		"more than one":     {`{"TunnelSecret":"` + secret + `"} ` + secret, "syntax error at byte"},
		"secret an object":  {`{"TunnelSecret":{"x":"` + secret + `"}}`, "secret is not"},
		"tunnel id a value": {`{"TunnelSecret":"` + secret + `","TunnelID":7}`, "field TunnelID"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := credential.ParseFile([]byte(tc.json))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("ParseFile: error %v, want one that says %q", err, tc.want)
			}
			inner := strings.NewReplacer("AccountTag", "a", "TunnelSecret", "s", "TunnelID", "t").Replace(tc.json)
			_, tokenErr := credential.ParseToken(base64.StdEncoding.EncodeToString([]byte(inner)))
			if tokenErr == nil {
				t.Fatalf("ParseToken(%s): no error", inner)
			}
			for _, text := range []string{err.Error(), tokenErr.Error()} {
				for _, leak := range []string{"c2V", "SECRET", "secretS", "12345678"} {
					if strings.Contains(text, leak) {
						t.Errorf("error shows the input: %s", text)
					}
				}
			}
		})
	}
	if _, err := credential.ParseToken("secretSECRET*"); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("ParseToken: error %v, want one without the input", err)
	}
}

func FuzzParseToken(f *testing.F) {
	for _, v := range loadVectors[struct {
		Token string `json:"token"`
	}](f, "tunnel_token") {
		f.Add(v.Token)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := credential.ParseToken(s)
		if err != nil {
			return
		}
		again, err := credential.ParseToken(credential.Token(c))
		if err != nil {
			t.Fatalf("ParseToken of a written token: %v", err)
		}
		wantEqual(t, "ParseToken of a written token", c, again)
	})
}

func FuzzParseFile(f *testing.F) {
	for _, v := range loadVectors[struct {
		Text string `json:"json"`
	}](f, "credentials_file") {
		f.Add([]byte(v.Text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := credential.ParseFile(b)
		if err != nil {
			return
		}
		again, err := credential.ParseFile(credential.File(c))
		if err != nil {
			t.Fatalf("ParseFile of a written file: %v", err)
		}
		wantEqual(t, "ParseFile of a written file", c, again)
	})
}
