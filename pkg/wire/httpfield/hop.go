package httpfield

// IsHopByHop reports whether a field belongs to one connection and ends there, in requests and responses alike
// (RFC 9110 7.6.1; 11.7 for the three of proxy authentication; RFC 7540 3.2.1 for HTTP2-Settings). Where "TE: trailers" or
// Trailer hold for the next hop too, the caller writes them anew.
func IsHopByHop(name string) bool {
	switch len(name) {
	case len("te"):
		return equalFolded(name, "te")
	case len("trailer"):
		return equalFolded(name, "trailer") || equalFolded(name, "upgrade")
	case len("connection"):
		return equalFolded(name, "connection") || equalFolded(name, "keep-alive")
	case len("http2-settings"):
		return equalFolded(name, "http2-settings")
	case len("proxy-connection"):
		return equalFolded(name, "proxy-connection")
	case len("transfer-encoding"):
		return equalFolded(name, "transfer-encoding")
	case len("proxy-authenticate"):
		return equalFolded(name, "proxy-authenticate")
	case len("proxy-authorization"):
		return equalFolded(name, "proxy-authorization")
	case len("proxy-authentication-info"):
		return equalFolded(name, "proxy-authentication-info")
	}
	return false
}

// IsConnectionSpecific reports whether HTTP/2 forbids a field (RFC 9113 8.2.2), or replaces it by a pseudo-header as it
// does Host. It is the part of IsHopByHop that cannot cross the wire between edge and connector; TE may, when its value
// is "trailers".
func IsConnectionSpecific(name string) bool {
	switch len(name) {
	case len("host"):
		return equalFolded(name, "host")
	case len("upgrade"):
		return equalFolded(name, "upgrade")
	case len("connection"):
		return equalFolded(name, "connection") || equalFolded(name, "keep-alive")
	case len("http2-settings"):
		return equalFolded(name, "http2-settings")
	case len("proxy-connection"):
		return equalFolded(name, "proxy-connection")
	case len("transfer-encoding"):
		return equalFolded(name, "transfer-encoding")
	}
	return false
}

// IsNamed reports whether one of the values of Connection names the field, so that it ends at this hop as well (RFC 9110
// 7.6.1). Fields that frame or route a message, or that the edge vouches for, cannot be removed by naming them:
// Content-Length, Host, Te (its own rule decides), Cf-*, X-Forwarded-*, Forwarded, Via and Cdn-Loop (RFC 8586 3).
func IsNamed(connection []string, name string) bool {
	return len(connection) > 0 && !protected(name) && ListHasToken(connection, name)
}

func protected(name string) bool {
	return equalFolded(name, "content-length") || equalFolded(name, "host") || equalFolded(name, "te") ||
		equalFolded(name, "forwarded") || equalFolded(name, "via") || equalFolded(name, "cdn-loop") ||
		hasFoldedPrefix(name, "cf-") || hasFoldedPrefix(name, "x-forwarded-")
}

// IsReservedInRequest reports whether a request field is one that edge and connector use between themselves or that the
// connector sets for the origin, so that a visitor must not be able to send it: Cf-Cloudflared-*, Cf-Warp-Tag-*,
// Cf-Trace-Id (docs/spec/ingress.md 7.1 and D19), Culvert-* and the metadata keys of docs/extensions.md.
func IsReservedInRequest(name string) bool {
	return isOurs(name) || hasFoldedPrefix(name, "cf-") && (hasFoldedPrefix(name, "cf-cloudflared-") ||
		hasFoldedPrefix(name, "cf-warp-tag-") || equalFolded(name, "cf-trace-id"))
}

// IsReservedInResponse reports whether a response field is one that edge and connector use between themselves, so that
// an origin must not be able to send it: Cf-Int-*, Cf-Cloudflared-*, Cf-Proxy-* (docs/spec/ingress.md 7.5 and D19),
// Culvert-* and the metadata keys of docs/extensions.md.
func IsReservedInResponse(name string) bool {
	return isOurs(name) || hasFoldedPrefix(name, "cf-") && (hasFoldedPrefix(name, "cf-int-") ||
		hasFoldedPrefix(name, "cf-cloudflared-") || hasFoldedPrefix(name, "cf-proxy-"))
}

// isOurs reports whether a name belongs to the extensions of Culvert. Their metadata keys are written without a hyphen.
func isOurs(name string) bool {
	return hasFoldedPrefix(name, "culvert") && (hasFoldedPrefix(name, "culvert-") || equalFolded(name, "culvertaccept") ||
		equalFolded(name, "culvertbody") || equalFolded(name, "culvertclient") || equalFolded(name, "culvertupgrade"))
}
