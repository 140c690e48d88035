package command

import (
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
)

const opTakeShare = "take share"

// together is the holder of a lead that several members have. No process may have that id.
const together = "(together)"

// TakeShare takes or renews member's share of a lead that several have together. Its term will be higher than seen, unless it is seen
// itself. One that may not join leads only where nobody else does.
func TakeShare(role, member string, seen lease.Term, ttl time.Duration, join bool) Request[lease.Share] {
	may := "0"
	if join {
		may = "1"
	}
	return Request[lease.Share]{
		Op: opTakeShare,
		Command: Command{
			Script: scriptTakeShare, Keys: []string{leadKey(role)}, Args: []string{member, millis(ttl), formatTerm(seen), may, together},
		},
		Decode: decodeShare,
	}
}

func decodeShare(reply any) (lease.Share, error) {
	words, err := texts(opTakeShare, reply)
	if err != nil {
		return lease.Share{}, err
	}
	if len(words) < 6 {
		return lease.Share{}, badReply(opTakeShare, reply)
	}
	var numbers [5]uint64
	for i := range numbers {
		if numbers[i], err = strconv.ParseUint(words[i+1], 10, 63); err != nil {
			return lease.Share{}, badReply(opTakeShare, reply)
		}
	}
	s := lease.Share{
		Lead: leadOf(words[0], numbers[:4]),
		Team: lease.Team{View: numbers[4], Members: words[6:]},
	}
	s.Fresh = s.Holds && s.Until <= s.Clock
	return s, nil
}

// leadOf makes a lead of the first word of a reply and the four numbers after it.
func leadOf(leads string, numbers []uint64) lease.Lead {
	return lease.Lead{
		Holds: leads == "1", Term: lease.Term(numbers[0]), Before: lease.Term(numbers[1]),
		Clock: time.Duration(numbers[2]) * time.Millisecond, Until: time.Duration(numbers[3]) * time.Millisecond,
	}
}

// LeaveShare gives a member's share up at once. It does nothing if it has none.
func LeaveShare(role, member string) Request[Done] {
	const op = "leave share"
	return Request[Done]{
		Op:      op,
		Command: Command{Script: scriptLeaveShare, Keys: []string{leadKey(role)}, Args: []string{member, together}},
		Decode:  done(op),
	}
}
