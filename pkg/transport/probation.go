package transport

// Probation is implemented by sessions that hold a peer to tighter limits until it has registered.
type Probation interface {
	// Admit ends the tighter limits. Call it when the registration has succeeded. Idempotent.
	Admit()
}
