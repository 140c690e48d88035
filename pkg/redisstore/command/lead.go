package command

import "time"

// TakeLead takes or renews the leader lease of a role, and reports whether holder has it now. A leader only reduces
// duplicate work: safety must not depend on there being only one.
func TakeLead(role, holder string, ttl time.Duration) Request[bool] {
	const op = "take lead"
	return Request[bool]{
		Op:      op,
		Command: Command{Script: scriptTakeLead, Keys: []string{leadKey(role)}, Args: []string{holder, millis(ttl)}},
		Decode:  flag(op),
	}
}

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
