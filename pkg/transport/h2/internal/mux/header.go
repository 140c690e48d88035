package mux

import (
	"errors"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/culvert-tunnel/culvert/pkg/wire/httpfield"
)

// Field is one field of a header or of trailers. A sensitive one does not enter the compression tables.
type Field = httpfield.Field

// usualFields is the capacity that a header's fields start with.
const usualFields = 16

// section is a decoded header or trailer section.
type section struct {
	fields []Field
	size   int // decoded, as httpfield.Limits counts
	end    bool
	// tooLarge says that the section exceeded the limits; fields are dropped then. malformed says the same of a section
	// that breaks the rules of RFC 9113 8.2 and 8.3.
	tooLarge, malformed bool
}

// sectionDecoder decodes header blocks. The compression state is the connection's: every block must be decoded to its
// end, even one that is refused.
type sectionDecoder struct {
	hpack  *hpack.Decoder
	limits httpfield.Limits

	// Of the current block.
	section
	meter   httpfield.Meter
	regular bool  // a field that is no pseudo-header came
	pseudo  uint8 // pseudo-headers that came
}

func newSectionDecoder(limits httpfield.Limits) *sectionDecoder {
	d := &sectionDecoder{limits: limits}
	d.hpack = hpack.NewDecoder(decoderTable, d.add)
	d.hpack.SetMaxStringLength(maxString)
	return d
}

// begin starts a block.
func (d *sectionDecoder) begin() {
	d.section = section{fields: make([]Field, 0, usualFields)}
	d.meter, d.regular, d.pseudo = d.limits.Meter(), false, 0
	d.hpack.SetEmitEnabled(true)
}

// refuse drops the fields of the current block. What is left of it is decoded without making strings.
func (d *sectionDecoder) refuse() {
	d.fields = nil
	d.hpack.SetEmitEnabled(false)
}

// add receives one decoded field.
func (d *sectionDecoder) add(f hpack.HeaderField) {
	if d.meter.Add(len(f.Name), len(f.Value)) != nil {
		d.tooLarge = true
		d.refuse()
		return
	}
	if !d.valid(f.Name) || !httpfield.IsValue(f.Value) {
		d.malformed = true
		d.refuse()
		return
	}
	d.size += len(f.Name) + len(f.Value) + httpfield.FieldOverhead
	d.fields = append(d.fields, Field(f))
}

// valid checks a name, and that pseudo-headers come first, once, and not those of requests and of responses together.
func (d *sectionDecoder) valid(name string) bool {
	if len(name) == 0 || name[0] != ':' {
		d.regular = true
		return httpfield.IsLowerToken(name)
	}
	bit := uint8(0)
	switch name {
	case ":method":
		bit = 1
	case ":scheme":
		bit = 2
	case ":authority":
		bit = 4
	case ":path":
		bit = 8
	case ":protocol":
		bit = 16
	case ":status":
		bit = pseudoStatus
	}
	before := d.pseudo
	d.pseudo |= bit
	return bit != 0 && before&bit == 0 && !d.regular && (d.pseudo&pseudoStatus == 0 || d.pseudo == pseudoStatus)
}

const pseudoStatus = 32

// read decodes the block that begins with f and goes on in CONTINUATION frames.
func (d *sectionDecoder) read(fr *http2.Framer, f *http2.HeadersFrame) (section, error) {
	d.begin()
	end := f.StreamEnded()
	fragment, last, wire := f.HeaderBlockFragment(), f.HeadersEnded(), 0
	for {
		if wire += frameHeader + len(fragment); wire > maxBlock { // empty frames count as well
			return section{}, violation(http2.ErrCodeEnhanceYourCalm, "header block too large")
		}
		if _, err := d.hpack.Write(fragment); err != nil {
			return section{}, violation(http2.ErrCodeCompression, "header block")
		}
		if last {
			break
		}
		next, err := fr.ReadFrame()
		if err != nil {
			return section{}, err
		}
		c, ok := next.(*http2.ContinuationFrame)
		if !ok { // the framer does not let this happen
			return section{}, violation(http2.ErrCodeProtocol, "header block interrupted")
		}
		fragment, last = c.HeaderBlockFragment(), c.HeadersEnded()
	}
	if err := d.hpack.Close(); err != nil {
		return section{}, errors.Join(violation(http2.ErrCodeCompression, "header block"), err)
	}
	s := d.section
	s.end = end
	d.section = section{}
	return s, nil
}

// sizeOf is what fields count against the header budget.
func sizeOf(fields []Field) (n int) {
	for i := range fields {
		n += fields[i].Size()
	}
	return n
}
