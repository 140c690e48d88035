package rpc

import (
	"errors"
	"fmt"

	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"
)

// maxCaps bounds the capabilities in one return; a bootstrap needs one.
const maxCaps = 4

var (
	errEmpty       = errors.New("message without content")
	errKind        = errors.New("message kind outside the protocol")
	errDestination = errors.New("call with redirected results")
	errTarget      = errors.New("call to an object other than the bootstrap object")
	errParamCaps   = errors.New("call with capabilities")
	errResultCaps  = errors.New("return with unexpected capabilities")
)

// guard decides which messages of the peer reach the library. The library implements far more than the subset that
// this protocol uses (docs/spec/wire.md 7.1), and a hostile peer can make other parts panic or keep memory. So only that
// subset passes: a bootstrap object without promises, called by its import or by the id of the bootstrap call, with plain
// data as parameters.
type guard struct {
	// bootstraps has the question ids of the peer's bootstraps that it has not finished.
	bootstraps map[uint32]struct{}
}

func newGuard() guard { return guard{bootstraps: make(map[uint32]struct{})} }

// check reports whether the message is passed to the library. An error ends the connection.
func (g *guard) check(m rpccp.Message) (pass bool, err error) {
	switch m.Which() {
	case rpccp.Message_Which_abort:
		return true, nil
	case rpccp.Message_Which_bootstrap:
		b, err := body("bootstrap", m.Bootstrap)
		if err != nil {
			return false, err
		}
		g.bootstraps[b.QuestionId()] = struct{}{}
		return true, nil
	case rpccp.Message_Which_finish:
		f, err := body("finish", m.Finish)
		if err != nil {
			return false, err
		}
		delete(g.bootstraps, f.QuestionId())
		return true, nil
	case rpccp.Message_Which_release:
		_, err := body("release", m.Release)
		return true, err
	case rpccp.Message_Which_call:
		call, err := body("call", m.Call)
		if err != nil {
			return false, err
		}
		return true, g.checkCall(call)
	case rpccp.Message_Which_return:
		ret, err := body("return", m.Return)
		if err != nil {
			return false, err
		}
		return true, checkReturn(ret)
	case rpccp.Message_Which_unimplemented, rpccp.Message_Which_resolve:
		// The first needs no action. The second resolves a promise; calls through the promise stay valid.
		return false, nil
	default:
		return false, errKind
	}
}

// body reads the struct that a message is about. A null one, which no encoder writes, makes the library panic.
func body[T interface{ IsValid() bool }](name string, read func() (T, error)) (T, error) {
	v, err := read()
	if err == nil && !v.IsValid() {
		err = errEmpty
	}
	if err != nil {
		return v, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

func (g *guard) checkCall(call rpccp.Call) error {
	if call.SendResultsTo().Which() != rpccp.Call_sendResultsTo_Which_caller {
		return errDestination
	}
	target, err := call.Target()
	if err != nil {
		return fmt.Errorf("call target: %w", err)
	}
	switch target.Which() {
	case rpccp.MessageTarget_Which_importedCap:
	case rpccp.MessageTarget_Which_promisedAnswer:
		answer, err := target.PromisedAnswer()
		if err != nil {
			return fmt.Errorf("call target: %w", err)
		}
		transform, err := answer.Transform()
		if err != nil {
			return fmt.Errorf("call target: %w", err)
		}
		if _, known := g.bootstraps[answer.QuestionId()]; !known || transform.Len() != 0 {
			return errTarget
		}
	default:
		return errTarget
	}
	params, err := call.Params()
	if err != nil {
		return fmt.Errorf("call params: %w", err)
	}
	caps, err := params.CapTable()
	if err != nil {
		return fmt.Errorf("call params: %w", err)
	}
	if caps.Len() != 0 {
		return errParamCaps
	}
	return nil
}

func checkReturn(ret rpccp.Return) error {
	if ret.Which() != rpccp.Return_Which_results {
		return nil
	}
	results, err := ret.Results()
	if err != nil {
		return fmt.Errorf("return: %w", err)
	}
	caps, err := results.CapTable()
	if err != nil {
		return fmt.Errorf("return: %w", err)
	}
	if caps.Len() > maxCaps {
		return errResultCaps
	}
	for i := range caps.Len() {
		switch caps.At(i).Which() {
		case rpccp.CapDescriptor_Which_none,
			rpccp.CapDescriptor_Which_senderHosted,
			rpccp.CapDescriptor_Which_senderPromise:
		default:
			return errResultCaps
		}
	}
	return nil
}
