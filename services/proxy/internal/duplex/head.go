package duplex

// Head is an End whose first bytes have been read already.
type Head struct {
	End
	First []byte
}

// Read gives the first bytes, then those of the end.
func (h *Head) Read(p []byte) (int, error) {
	if len(h.First) > 0 {
		n := copy(p, h.First)
		h.First = h.First[n:]
		return n, nil
	}
	h.First = nil
	return h.End.Read(p)
}
