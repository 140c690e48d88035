package httpfield

// IsTrailer reports whether a field may be sent as a trailer (RFC 9110 6.5.1). A recipient must know what frames,
// routes, authorizes, modifies or describes a message before it reads the body, so such fields are refused there, as are
// hop-by-hop and reserved fields. A name that is no token is refused as well.
func IsTrailer(name string) bool {
	if !IsToken(name) || IsHopByHop(name) || IsReservedInRequest(name) || IsReservedInResponse(name) || hasFoldedPrefix(name, "if-") {
		return false
	}
	for _, forbidden := range [...]string{
		"authorization", "cache-control", "content-encoding", "content-length", "content-range", "content-type", "cookie", "expect",
		"host", "max-forwards", "pragma", "range", "realm", "set-cookie", "www-authenticate",
	} {
		if equalFolded(name, forbidden) {
			return false
		}
	}
	return true
}
