package icmp

// Widen is widen, for tests.
var Widen = widen

// ParseExtended is parseExtended, for tests.
var ParseExtended = parseExtended
