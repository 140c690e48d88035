// Package httpfield holds the rules for HTTP header and trailer fields that the edge, the transports and the proxy share.
// They decide what may pass from a visitor to an origin and back, so they exist once.
//
//	Syntax       IsToken, IsLowerToken, IsValue, IsTokenByte, IsValueByte, IsTargetByte, TrimOWS, EqualFold
//	Spelling     Canonical ("Content-Type"), Lower ("content-type"), Common
//	Lists        Items, HasToken, ListHasToken
//	Lengths      ParseLength
//	One hop      IsHopByHop, IsConnectionSpecific, IsNamed
//	Reserved     IsReservedInRequest, IsReservedInResponse
//	Trailers     IsTrailer
//	Limits       Limits, Meter, ErrTooManyFields, ErrTooLarge
//
// Three rules hold for all functions:
//
//   - Only ASCII letters fold. Unicode folding would make U+212A (the Kelvin sign) equal to "k" and U+017F equal to "s".
//   - Functions that decide what must not pass (IsHopByHop, IsReserved..., IsTrailer) accept any letter case and read "_"
//     as "-". CGI, WSGI and many application servers turn both into "_", so "Transfer_Encoding" reaches an application as
//     if it were Transfer-Encoding. IsNamed compares exactly, except for the letter case, but "_" cannot lift its protection.
//   - Optional whitespace is space and tab (RFC 9110 5.6.3). No other character is trimmed.
//
// No function allocates, except Canonical and Lower when a name is neither common nor spelled as wanted. The package is
// pure and keeps no state.
package httpfield
