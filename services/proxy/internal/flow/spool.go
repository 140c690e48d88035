package flow

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// spoolStep is by how much a spooled body's claim on the common budget grows.
const spoolStep = 64 << 10

// budget bounds the memory of bodies that must be held whole before they are sent (docs/spec/ingress.md D6): each one, and all
// together.
type budget struct {
	each  int64
	total int64
	used  atomic.Int64
}

// spooled is a body held in memory. Release it when the exchange is over.
type spooled struct {
	budget *budget
	claim  int64
	buf    bytes.Buffer
}

// read takes in a whole body.
func (g *budget) read(from *body) (*spooled, error) {
	s := &spooled{budget: g}
	for {
		if err := s.claimMore(); err != nil {
			s.release()
			return nil, err
		}
		_, err := io.CopyN(&s.buf, from, spoolStep)
		if errors.Is(err, io.EOF) {
			err = nil
			if s.size() <= g.each {
				return s, nil
			}
		}
		if err != nil {
			s.release()
			return nil, &leftError{err}
		}
		if s.size() > g.each {
			s.release()
			return nil, errSpoolLimit
		}
	}
}

// claimMore reserves one more step.
func (s *spooled) claimMore() error {
	s.claim += spoolStep
	if s.budget.used.Add(spoolStep) > max(s.budget.total, spoolStep) {
		return errSpoolFull
	}
	return nil
}

func (s *spooled) size() int64 { return int64(s.buf.Len()) }

// body returns the bytes as a request body, or http.NoBody if there are none.
func (s *spooled) body() io.ReadCloser {
	if s.buf.Len() == 0 {
		return http.NoBody
	}
	return io.NopCloser(bytes.NewReader(s.buf.Bytes()))
}

func (s *spooled) release() { s.budget.used.Add(-s.claim) }
