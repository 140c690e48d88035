package command

import (
	"fmt"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/quota"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	opQuota      = "renew share of a limit"
	opLeaveQuota = "give back share of a limit"
)

// Renewed is the reply to Quota.
type Renewed struct {
	quota.Answer
	// Now is the time of the server.
	Now time.Duration
}

// Quota renews the share of a process in a limit of a tunnel.
func Quota(id tunnel.ID, a quota.Ask) Request[Renewed] {
	number := func(n uint64) string { return strconv.FormatUint(min(n, quota.MaxLimit), 10) }
	return Request[Renewed]{
		Op: opQuota,
		Command: Command{
			Script: scriptQuota, Keys: []string{quotaKey(id)},
			Args: []string{
				a.Process, number(a.Seq), number(a.Limit), number(a.Held), number(a.Used), number(a.Want),
				millis(quota.Settle), millis(quota.StaleAfter), millis(quota.GoneAfter),
			},
		},
		Decode: decodeQuota,
	}
}

func decodeQuota(reply any) (Renewed, error) {
	words, err := texts(opQuota, reply)
	if err != nil {
		return Renewed{}, err
	}
	var n [4]uint64
	for i, w := range words {
		if len(words) != len(n) {
			return Renewed{}, badReply(opQuota, reply)
		}
		if n[i], err = strconv.ParseUint(w, 10, 53); err != nil {
			return Renewed{}, fmt.Errorf("%w: %w", badReply(opQuota, reply), err)
		}
	}
	if len(words) == 0 || n[1] == 0 || n[2] > 1 {
		return Renewed{}, badReply(opQuota, reply)
	}
	return Renewed{
		Answer: quota.Answer{Share: n[0], Processes: int(n[1]), Short: n[2] == 1}, Now: time.Duration(n[3]) * time.Millisecond,
	}, nil
}

// LeaveQuota gives the share of a process back.
func LeaveQuota(id tunnel.ID, process string) Request[Done] {
	return Request[Done]{
		Op: opLeaveQuota, Command: Command{Script: scriptLeaveQuota, Keys: []string{quotaKey(id)}, Args: []string{process}},
		Decode: done(opLeaveQuota),
	}
}
