package httpfield

import "iter"

// Items yields the items of a comma-separated list without whitespace around them; empty ones are skipped (RFC 9110
// 5.6.1). It does not know quoted strings: use it for lists of tokens.
func Items(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for list != "" {
			var item string
			if item, list = cutItem(list); item != "" && !yield(item) {
				return
			}
		}
	}
}

// cutItem takes the first item off a list.
func cutItem[T text](list T) (item, rest T) {
	for i := range len(list) {
		if list[i] == ',' {
			return TrimOWS(list[:i]), list[i+1:]
		}
	}
	return TrimOWS(list), list[len(list):]
}

// HasToken reports whether a comma-separated list has an item that equals token in any letter case. Parameters are not
// cut off: none of Connection, "TE: trailers", "Upgrade: websocket" and "Expect: 100-continue" defines any, and every
// reader along the way must come to the same result.
func HasToken[T text](list T, token string) bool {
	for len(list) > 0 {
		var item T
		if item, list = cutItem(list); EqualFold(item, token) {
			return true
		}
	}
	return false
}

// ListHasToken is HasToken for a field with several lines.
func ListHasToken(values []string, token string) bool {
	for _, v := range values {
		if HasToken(v, token) {
			return true
		}
	}
	return false
}
