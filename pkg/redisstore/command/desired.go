package command

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	opDesired    = "read desired state"
	opSetDesired = "set desired state"
	// entryWords is how many words of the reply belong to one subject.
	entryWords = 6
)

// The subjects of documents.
const (
	subjectTunnel  = "tunnel/"
	subjectWorker  = "worker/"
	subjectCommand = "command/"
)

// Read is what the store says of the desired state.
type Read struct {
	// Same says that it is what the caller knows; the rest is empty.
	Same bool
	desired.State
}

// Desired reads what operators desire, unless the version is known; 0 is none. What cannot be read hides nothing else.
func Desired(known uint64) Request[Read] {
	return Request[Read]{
		Op: opDesired,
		Command: Command{
			Script: scriptDesired, Keys: []string{documentsKey(), commandsKey()}, Args: []string{strconv.FormatUint(known, 10)},
		},
		Decode: decodeDesired,
	}
}

func decodeDesired(reply any) (Read, error) {
	words, err := texts(opDesired, reply)
	if err != nil {
		return Read{}, err
	}
	if len(words) < 2 || (len(words)-2)%entryWords != 0 || words[0] != "all" && (words[0] != "same" || len(words) > 2) {
		return Read{}, badReply(opDesired, reply)
	}
	r := Read{Same: words[0] == "same", State: desired.State{
		Tunnels: map[tunnel.ID]desired.Document{}, Workers: map[tunnel.WorkerID]desired.Mark{},
	}}
	r.Version, _ = strconv.ParseUint(words[1], 10, 63) // one that cannot be read is read again, until the next change
	for e := words[2:]; len(e) > 0; e = e[entryWords:] {
		if err := takeEntry(&r.State, e[:entryWords]); err != nil {
			r.Damaged = append(r.Damaged, fmt.Sprintf("%s: %v", e[0], err))
		}
	}
	return r, nil
}

// takeEntry reads the words of one subject.
func takeEntry(s *desired.State, e []string) error {
	var numbers [3]uint64
	for i := range numbers {
		n, err := strconv.ParseUint(e[i+1], 10, 63)
		if err != nil {
			return fmt.Errorf("%q is no number", e[i+1])
		}
		numbers[i] = n
	}
	version, pool, changed := numbers[0], numbers[1], time.UnixMilli(int64(numbers[2])).UTC()
	if id, found := strings.CutPrefix(e[0], subjectCommand); found {
		c, err := desired.DecodeCommand([]byte(e[4]))
		if err == nil && c.ID != id {
			err = fmt.Errorf("stored command: it has the id %q", c.ID)
		}
		if err == nil {
			s.Commands = append(s.Commands, desired.Status{
				Command: c, Result: desired.Result{Outcome: desired.Pending}, Remaining: time.Duration(version) * time.Millisecond,
			})
		}
		return err
	}
	body, err := desired.DecodeBody([]byte(e[4]))
	if err != nil {
		return err
	}
	if id, found := strings.CutPrefix(e[0], subjectWorker); found {
		s.Workers[tunnel.WorkerID(id)] = desired.Mark{Drained: body.Drained, Version: version, Author: body.Author, Changed: changed}
		return nil
	}
	id, err := tunnel.ParseID(strings.TrimPrefix(e[0], subjectTunnel))
	if err != nil {
		return err
	}
	d := desired.Document{Spec: body.Spec, Version: version, PoolVersion: pool, Author: body.Author, Changed: changed}
	if former, err := desired.DecodeBody([]byte(e[5])); e[5] != "" && err == nil {
		d.Former = &former.Spec
	}
	s.Tunnels[id] = d
	return nil
}

// SetDesired changes the document of a tunnel, if its version still is the expected one (0: none), and returns the new version.
// tunnel.ErrConflict says that somebody else changed it first. poolChanges says that the spec names another pool than the stored one.
func SetDesired(id tunnel.ID, expect uint64, spec desired.Spec, author string, poolChanges bool) (Request[uint64], error) {
	return setDesired(subjectTunnel+id.String(), expect, desired.Body{Spec: spec, Author: author}, poolChanges, desired.Document{})
}

// RestoreDesired gives a document back to a store that lost it.
func RestoreDesired(id tunnel.ID, d desired.Document) (Request[uint64], error) {
	return setDesired(subjectTunnel+id.String(), 0, desired.Body{Spec: d.Spec, Author: d.Author}, false, d)
}

// SetDrained marks a worker as drained, or removes the mark, if the version of the mark still is the expected one (0: none).
func SetDrained(id tunnel.WorkerID, expect uint64, drained bool, author string) (Request[uint64], error) {
	return setDesired(subjectWorker+string(id), expect, desired.Body{Drained: drained, Author: author}, false, desired.Document{})
}

// RestoreDrained gives a mark back to a store that lost it.
func RestoreDrained(id tunnel.WorkerID, m desired.Mark) (Request[uint64], error) {
	back := desired.Document{Version: m.Version}
	return setDesired(subjectWorker+string(id), 0, desired.Body{Drained: m.Drained, Author: m.Author}, false, back)
}

func setDesired(subject string, expect uint64, body desired.Body, pool bool, back desired.Document) (Request[uint64], error) {
	text, err := body.Encode()
	if err != nil {
		return Request[uint64]{}, fmt.Errorf("%s: %w", opSetDesired, err)
	}
	changes := "0"
	if pool {
		changes = "1"
	}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return Request[uint64]{
		Op: opSetDesired,
		Command: Command{
			Script: scriptSetDesired, Keys: []string{documentsKey()},
			Args: []string{subject, number(expect), string(text), changes, number(back.Version), number(back.PoolVersion)},
		},
		Decode: version(opSetDesired, subject),
	}, nil
}

// version reads the reply of the scripts that change something by compare-and-set of its version.
func version(op, subject string) func(reply any) (uint64, error) {
	return func(reply any) (uint64, error) {
		words, err := texts(op, reply)
		if err != nil {
			return 0, err
		}
		if len(words) != 2 {
			return 0, badReply(op, reply)
		}
		version, err := strconv.ParseUint(words[1], 10, 63)
		switch {
		case err != nil || words[0] != "ok" && words[0] != "version":
			return 0, badReply(op, reply)
		case words[0] == "version":
			return 0, fmt.Errorf("%s of %s: %w: it has version %d", op, subject, tunnel.ErrConflict, version)
		}
		return version, nil
	}
}

// Submit writes a command for the supervisors, which have ttl to carry it out. The same command again changes nothing and returns its
// result. tunnel.ErrConflict says that another command has the id, tunnel.ErrUnavailable that too many wait already.
func Submit(c desired.Command, ttl time.Duration) (Request[desired.Status], error) {
	const op = "submit command"
	if err := c.Validate(); err != nil {
		return Request[desired.Status]{}, fmt.Errorf("%s: %w", op, err)
	}
	if err := desired.CheckTTL(ttl); err != nil {
		return Request[desired.Status]{}, fmt.Errorf("%s: %w", op, err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return Request[desired.Status]{}, fmt.Errorf("%s: %w", op, err)
	}
	return Request[desired.Status]{
		Op: op,
		Command: Command{
			Script: scriptSubmitCommand, Keys: []string{documentsKey(), commandsKey()},
			Args: []string{
				c.ID, string(text), millis(ttl), millis(desired.KeepResult), c.Tunnel.String(),
				strconv.Itoa(desired.MaxPending), strconv.Itoa(desired.MaxPendingTunnel),
			},
		},
		Decode: status(op, c.ID),
	}, nil
}

// Answer writes the result of a command, unless it has one, and returns the one that it has.
func Answer(id string, r desired.Result) Request[desired.Status] {
	return answer("answer command", id, r)
}

// Result reads a command with its result; tunnel.ErrNotFound if there is none with the id, or its result is too old.
func Result(id string) Request[desired.Status] { return answer("read command", id, desired.Result{}) }

func answer(op, id string, r desired.Result) Request[desired.Status] {
	return Request[desired.Status]{
		Op: op,
		Command: Command{
			Script: scriptAnswerCommand, Keys: []string{documentsKey(), commandsKey()}, Args: []string{id, string(r.Outcome), r.Detail},
		},
		Decode: status(op, id),
	}
}

// status reads the reply of the scripts that return a command.
func status(op, id string) func(reply any) (desired.Status, error) {
	return func(reply any) (desired.Status, error) {
		words, err := texts(op, reply)
		switch {
		case err != nil:
			return desired.Status{}, err
		case len(words) == 1 && words[0] == "absent":
			return desired.Status{}, fmt.Errorf("%s: command %q: %w", op, id, tunnel.ErrNotFound)
		case len(words) == 1 && words[0] == "other":
			return desired.Status{}, fmt.Errorf("%s: %w: the id %q is that of another command", op, tunnel.ErrConflict, id)
		case len(words) == 2 && words[0] == "full":
			return desired.Status{}, fmt.Errorf("%s: %w: %w (%s)", op, tunnel.ErrUnavailable, desired.ErrFull, words[1])
		case len(words) != 4:
			return desired.Status{}, badReply(op, reply)
		}
		remaining, err := strconv.ParseUint(words[2], 10, 40)
		if err != nil {
			return desired.Status{}, badReply(op, reply)
		}
		c, err := desired.DecodeCommand([]byte(words[3]))
		if err != nil {
			return desired.Status{}, fmt.Errorf("%s: %w", op, err)
		}
		return desired.Status{
			Command: c, Result: desired.Result{Outcome: desired.Outcome(words[0]), Detail: words[1]},
			Remaining: time.Duration(remaining) * time.Millisecond,
		}, nil
	}
}

// AskReconnect asks the holder of a slot under the epoch to make its connection again; id is that of the command. tunnel.ErrFenced says
// that the slot has another epoch or no holder, tunnel.ErrNotFound that the store knows no such slot, and a lease.OvertakenError that a
// leader with a newer term than the caller's is in charge.
func AskReconnect(term lease.Term, slot tunnel.Slot, epoch tunnel.Epoch, id string) Request[Done] {
	op := fmt.Sprintf("reconnect slot %d", slot.Index)
	return Request[Done]{
		Op: op,
		Command: Command{
			Script: scriptReconnect, Keys: []string{slotsKey(slot.Tunnel, slot.Connector), fenceKey(slot.Tunnel, slot.Connector)},
			Args: []string{formatIndex(slot.Index), formatEpoch(epoch), id, formatTerm(term)},
		},
		Decode: released(op),
	}
}

// commandOf reads the id of a command from a field of a slot: it counts under the epoch that it was written with.
func commandOf(values map[string]string, field string) string {
	epoch, id, found := strings.Cut(values[field], "/")
	if !found || epoch != values["epoch"] {
		return ""
	}
	return id
}
