package command

import (
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
)

const opTakeLead = "take lead"

// TakeLead takes or renews the leader lease of a role, and reports whether holder has it now. A leader only reduces
// duplicate work: safety must not depend on there being only one.
func TakeLead(role, holder string, ttl time.Duration) Request[bool] {
	return Request[bool]{
		Op:      opTakeLead,
		Command: takeLead(role, holder, 0, ttl),
		Decode: func(reply any) (bool, error) {
			lead, err := decodeLead(reply)
			return lead.Holds, err
		},
	}
}

// TakeTerm is TakeLead for a leader whose writes are fenced by its term. Its term will be higher than seen, unless it is seen itself.
func TakeTerm(role, holder string, seen lease.Term, ttl time.Duration) Request[lease.Lead] {
	return Request[lease.Lead]{Op: opTakeLead, Command: takeLead(role, holder, seen, ttl), Decode: decodeLead}
}

func takeLead(role, holder string, seen lease.Term, ttl time.Duration) Command {
	return Command{Script: scriptTakeLead, Keys: []string{leadKey(role)}, Args: []string{holder, millis(ttl), formatTerm(seen)}}
}

func decodeLead(reply any) (lease.Lead, error) {
	words, err := texts(opTakeLead, reply)
	if err != nil {
		return lease.Lead{}, err
	}
	if len(words) != 5 {
		return lease.Lead{}, badReply(opTakeLead, reply)
	}
	var numbers [4]uint64
	for i := range numbers {
		if numbers[i], err = strconv.ParseUint(words[i+1], 10, 63); err != nil {
			return lease.Lead{}, badReply(opTakeLead, reply)
		}
	}
	return leadOf(words[0], numbers[:]), nil
}

func formatTerm(t lease.Term) string { return strconv.FormatUint(uint64(t), 10) }

// ResignLead gives the leader lease up at once. It does nothing if another holder has it.
func ResignLead(role, holder string) Request[Done] {
	const op = "resign lead"
	return Request[Done]{
		Op:      op,
		Command: Command{Script: scriptResignLead, Keys: []string{leadKey(role)}, Args: []string{holder}},
		Decode:  done(op),
	}
}

// Leader returns the holder of the leader lease of a role, or an empty string.
func Leader(role string) Request[string] {
	const op = "read leader"
	return Request[string]{
		Op:      op,
		Command: Command{Script: scriptLeader, Keys: []string{leadKey(role)}},
		Decode:  func(reply any) (string, error) { return text(op, reply) },
	}
}
