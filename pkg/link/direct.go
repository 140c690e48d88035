package link

import "context"

// NewDirect is a carrier that calls h in the same process.
func NewDirect(h Handler) Carrier { return &direct{h: h} }

type direct struct{ h Handler }

func (d *direct) Carry(ctx context.Context, f Flow) error { return ErrNotAccepted }
