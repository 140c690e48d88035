package redact

import (
	"regexp"
	"strings"
)

// Mask stands where a secret was.
const Mask = "***"

var (
	// urlText is a URL up to the next white space or quote.
	urlText = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>\x60]+`)
	// bareLogin is user:password@host without a scheme.
	bareLogin = regexp.MustCompile(`[A-Za-z0-9._~%+-]+:[^\s"'/@:]+@([\[A-Za-z0-9])`)
	bearer    = regexp.MustCompile(`(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}`)
	// jsonToken is base64 of a JSON object: a tunnel token or a JWT.
	jsonToken = regexp.MustCompile(`\beyJ[A-Za-z0-9_+/=-]{16,}(\.[A-Za-z0-9_-]*)*`)
	// passwordHash is a bcrypt hash.
	passwordHash = regexp.MustCompile(`\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}`)
	// parameter is one key and value of a query or fragment.
	parameter = regexp.MustCompile(`([?&#;])([A-Za-z0-9_.~%-]+)=([^&#;\s"'<>]+)`)
)

// secretWords lists what the name of a secret setting or parameter contains.
func secretWords() []string {
	return []string{
		"password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "credential", "signature", "jwt",
	}
}

// secretNames lists the names that mean a secret although they contain none of the words.
func secretNames() []string {
	return []string{"pass", "pwd", "sig", "auth", "authorization", "key", "code", "cookie", "setcookie", "proxyauthorization"}
}

// SecretName reports whether name is the name of a secret: of a query parameter, a setting, a flag or a variable. The name of a
// file with a secret ("password_file", "tokenFile") is none.
func SecretName(name string) bool {
	plain := withoutSeparators(strings.ToLower(name))
	for _, suffix := range []string{"file", "dir", "path"} {
		if strings.HasSuffix(plain, suffix) {
			return false
		}
	}
	for _, word := range secretWords() {
		if strings.Contains(plain, word) {
			return true
		}
	}
	for _, n := range secretNames() {
		if plain == n {
			return true
		}
	}
	return false
}

// withoutSeparators is name without what stands between its words.
func withoutSeparators(name string) string {
	if !strings.ContainsAny(name, "_-.") {
		return name
	}
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r == '.' {
			return -1
		}
		return r
	}, name)
}

// Setting is the value of the setting name as it may be shown.
func Setting(name, value string) string {
	if value != "" && SecretName(name) {
		return Mask
	}
	return URL(value)
}

// URL is raw with its password and secret parameters masked. A user without a password may be a token, and is masked, too. The same
// holds before a host without a scheme. Text that is no URL passes through Text.
func URL(raw string) string {
	if !strings.Contains(raw, "://") && strings.Contains(raw, "@") {
		authority, rest := cutAuthority(raw)
		if masked := maskLogin(authority); masked != authority {
			return Text(masked + rest)
		}
	}
	return Text(raw)
}

// Text is s without the secrets in it. It is meant for log lines, errors and documents. A pattern is tried only where it may match: most
// texts have no secret, and a log stream passes every header of a request through here.
func Text(s string) string {
	if strings.Contains(s, "@") {
		if strings.Contains(s, "://") {
			s = urlText.ReplaceAllStringFunc(s, maskURL)
		}
		if strings.Contains(s, ":") {
			s = bareLogin.ReplaceAllStringFunc(s, maskBareLogin)
		}
	}
	if hasSecretParameter(s) {
		s = parameter.ReplaceAllStringFunc(s, maskParameter)
	}
	if strings.Contains(s, "eyJ") {
		s = jsonToken.ReplaceAllString(s, Mask)
	}
	if strings.Contains(s, "$2") {
		s = passwordHash.ReplaceAllString(s, Mask)
	}
	if strings.Contains(s, " ") && mayNameScheme(s) {
		s = bearer.ReplaceAllString(s, "${1} "+Mask)
	}
	return s
}

// hasSecretParameter reports whether the pattern parameter matches something whose name is secret.
func hasSecretParameter(s string) bool {
	for {
		before, after, found := strings.Cut(s, "=")
		if !found {
			return false
		}
		start := strings.LastIndexFunc(before, func(r rune) bool { return !isNameRune(r) })
		if start >= 0 && strings.IndexByte("?&#;", before[start]) >= 0 && SecretName(before[start+1:]) {
			return true
		}
		s = after
	}
}

// isNameRune reports whether r may be part of the name in the pattern parameter.
func isNameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_.~%-", r)
}

// mayNameScheme reports whether s may have one of the words of the pattern bearer, in any case: each begins with "be" or "ba".
func mayNameScheme(s string) bool {
	for i := range len(s) - 1 {
		if b := s[i] | 0x20; b != 'b' {
			continue
		}
		if next := s[i+1] | 0x20; next == 'e' || next == 'a' {
			return true
		}
	}
	return false
}

// Error is err with a text that passed through Text. errors.Is and errors.As see err. It is nil for nil.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return redacted{err}
}

type redacted struct{ err error }

func (r redacted) Error() string { return Text(r.err.Error()) }

func (r redacted) Unwrap() error { return r.err }

// maskURL masks what stands before the host.
func maskURL(s string) string {
	scheme, rest, _ := strings.Cut(s, "://")
	authority, tail := cutAuthority(rest)
	if !strings.Contains(authority, "@") {
		authority, tail = unescapedLogin(authority, tail)
	}
	return scheme + "://" + maskLogin(authority) + tail
}

// unescapedLogin finds a password that contains the end of an authority, such as in http://user:pa/ss@host: what follows the
// colon is no port then.
func unescapedLogin(authority, tail string) (login, rest string) {
	_, port, ok := strings.Cut(authority, ":")
	at := strings.LastIndexByte(tail, '@')
	if !ok || at < 0 || strings.Trim(port, "0123456789") == "" || strings.HasPrefix(authority, "[") {
		return authority, tail
	}
	return authority + tail[:at+1], tail[at+1:]
}

// maskLogin masks the password of user:password@host, or the user if there is no password.
func maskLogin(authority string) string {
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		return authority
	}
	user, password, has := strings.Cut(authority[:at], ":")
	if has && password != "" {
		return user + ":" + Mask + authority[at:]
	}
	return Mask + authority[at:] // a user alone may be a token
}

func maskBareLogin(s string) string {
	user, rest, _ := strings.Cut(s, ":")
	return user + ":" + Mask + rest[strings.LastIndexByte(rest, '@'):]
}

func maskParameter(s string) string {
	name, _, _ := strings.Cut(s[1:], "=")
	if !SecretName(name) {
		return s
	}
	return s[:1] + name + "=" + Mask
}

func cutAuthority(s string) (authority, rest string) {
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}
