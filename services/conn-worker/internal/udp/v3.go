package udp

import (
	"errors"

	"github.com/culvert-tunnel/culvert/pkg/link/packet"
	"github.com/culvert-tunnel/culvert/pkg/wire/datagram"
)

// receiveV3 handles one datagram of version 3.
func (s *Session) receiveV3(b []byte) {
	t, err := datagram.TypeV3(b)
	if err != nil {
		s.drop(Malformed)
		return
	}
	switch t {
	case datagram.V3Payload:
		id, data, err := datagram.ParsePayload(b)
		if err != nil {
			s.refuse(err)
			return
		}
		s.payload(id, data)
	case datagram.V3Registration:
		r, err := datagram.ParseRegistration(b)
		if err != nil {
			s.refuse(err)
			return
		}
		s.registerV3(&r)
	case datagram.V3ICMP:
		data, err := datagram.ParseICMP(b)
		if err != nil {
			s.refuse(err)
			return
		}
		s.icmp(data)
	case datagram.V3Response:
		s.drop(Unexpected)
	case datagram.V3Fragment:
		s.fragment(b)
	}
}

func (s *Session) refuse(err error) {
	if errors.Is(err, datagram.ErrTooLarge) {
		s.drop(TooLarge)
		return
	}
	s.drop(Malformed)
}

// registerV3 asks a proxy for the session; its response is the edge's. A payload that is too large to be one is left out.
func (s *Session) registerV3(r *datagram.Registration) {
	payload := r.Payload
	if len(payload) > datagram.MaxPayload {
		s.drop(TooLarge)
		payload = nil
	}
	switch err := s.register(r.ID, r.Dest, r.Idle, payload, nil); {
	case err == nil, errors.Is(err, errNotHere):
	case errors.Is(err, errTooMany):
		s.drop(TooManySessions)
		s.respond(r.ID, datagram.ResultTooManyFlows, err.Error())
	case errors.Is(err, errBusy):
		s.drop(QueueFull) // the edge repeats the registration
	default:
		// The session stays remembered: it gets its proxy, and the edge its response, when there is one.
		s.drop(NoProxy)
	}
}

// respond sends the response to a registration.
func (s *Session) respond(id datagram.ID, r datagram.Result, text string) {
	text = text[:min(len(text), datagram.V3MaxText)]
	b, err := (&datagram.Response{ID: id, Result: r, Text: text}).Append(nil)
	if err != nil {
		s.drop(TooLarge)
		return
	}
	s.send(b)
}

// sendPayload gives a payload of the origin to the edge.
func (s *Session) sendPayload(f *flow, m *packet.Message) {
	if len(m.Data) > datagram.MaxPayload {
		s.sendFragments(f, m)
		return
	}
	var err error
	if s.version == V3 {
		f.out, err = datagram.AppendPayload(f.out[:0], m.ID, m.Data)
	} else {
		d := datagram.V2{Type: datagram.V2UDP, ID: m.ID, Data: m.Data}
		f.out, err = d.Append(f.out[:0])
	}
	if err != nil {
		s.drop(TooLarge)
		return
	}
	s.send(f.out)
}

// sendICMP gives a packet to the edge.
func (s *Session) sendICMP(f *flow, b []byte) {
	var err error
	if s.version == V3 {
		f.out, err = datagram.AppendICMP(f.out[:0], b)
	} else {
		d := datagram.V2{Type: datagram.V2IP, Data: b}
		f.out, err = d.Append(f.out[:0])
	}
	if err != nil {
		s.drop(TooLarge)
		return
	}
	s.send(f.out)
}
