package command

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

const (
	opRenewWorker = "renew worker"
	// inboxTTL is how long an inbox outlives its last change. Its worker reads it with each renewal.
	inboxTTL = 10 * time.Minute
	// marksTTL is how long the marks outlive the last one. Supervisors read them every second.
	marksTTL = 10 * time.Minute
	// markDesired is the mark of the desired state, beside those of tunnels.
	markDesired = "desired"
)

// RenewWorker renews the lease of a worker, under which all its slots live, and returns which tunnels' slots changed.
func RenewWorker(r fleet.Renewal, ttl time.Duration) (Request[fleet.Renewed], error) {
	w := r.Worker
	if w.ID == "" || w.Instance == "" {
		return Request[fleet.Renewed]{}, fmt.Errorf("%s: empty id or instance", opRenewWorker)
	}
	body := ""
	if r.Full {
		b, err := json.Marshal(w)
		if err != nil {
			return Request[fleet.Renewed]{}, fmt.Errorf("%s %s: %w", opRenewWorker, w.ID, err)
		}
		body = string(b)
	}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return Request[fleet.Renewed]{
		Op: opRenewWorker,
		Command: Command{
			Script: scriptRenewWorker,
			Keys:   append(registryKeys(workers), instancesKey(), generationKey(), inboxKey(w.ID), revisionsKey()),
			Args: []string{
				string(w.ID), millis(ttl), w.Instance, number(r.Inbox), body, number(r.Confirmed), number(r.Number),
				r.Replaces,
			},
		},
		Decode: decodeRenewed,
	}, nil
}

func decodeRenewed(reply any) (fleet.Renewed, error) {
	words, err := texts(opRenewWorker, reply)
	switch {
	case err != nil:
		return fleet.Renewed{}, err
	case len(words) == 3 && words[0] == "taken":
		return decodeTaken(words, reply)
	case len(words) == 1 && words[0] == "unknown":
		return fleet.Renewed{Unknown: true}, nil
	case len(words) < 4 || words[0] != "ok":
		return fleet.Renewed{}, badReply(opRenewWorker, reply)
	}
	var r fleet.Renewed
	switch words[1] {
	case "kept":
	case "lapsed":
		r.Lapsed = true
	case "new":
		r.New = true
	default:
		return fleet.Renewed{}, badReply(opRenewWorker, reply)
	}
	if r.Generation, err = strconv.ParseUint(words[2], 10, 63); err != nil {
		return fleet.Renewed{}, badReply(opRenewWorker, reply)
	}
	// What cannot be read of the inbox is told anew with the next change.
	r.Inbox, _ = strconv.ParseUint(words[3], 10, 63)
	for _, word := range words[4:] {
		if id, err := tunnel.ParseID(word); err == nil {
			r.Tunnels = append(r.Tunnels, id)
		}
	}
	return r, nil
}

// decodeTaken reads who has the id. A record that cannot be read says nothing about its process.
func decodeTaken(words []string, reply any) (fleet.Renewed, error) {
	deadline, err := strconv.ParseInt(words[1], 10, 63)
	if err != nil {
		return fleet.Renewed{}, badReply(opRenewWorker, reply)
	}
	taken := fleet.Taken{Until: time.Duration(deadline) * time.Millisecond}
	if json.Unmarshal([]byte(words[2]), &taken.By) != nil {
		taken.By = fleet.Worker{}
	}
	return fleet.Renewed{Taken: &taken}, nil
}

// Notify tells a worker that slots of tunnels have changed.
func Notify(id tunnel.WorkerID, tunnels []tunnel.ID) Request[Done] {
	return notify("notify worker", inboxKey(id), inboxTTL, words(tunnels))
}

// Mark tells the supervisors that something of the tunnels changed that they have to look at.
func Mark(tunnels []tunnel.ID) Request[Done] {
	return notify("mark tunnels", marksKey(), marksTTL, words(tunnels))
}

// MarkDesired tells the supervisors that the desired state or the commands changed.
func MarkDesired() Request[Done] {
	return notify("mark desired state", marksKey(), marksTTL, []string{markDesired})
}

func words(tunnels []tunnel.ID) []string {
	out := make([]string, len(tunnels))
	for i, t := range tunnels {
		out[i] = t.String()
	}
	return out
}

func notify(op, key string, ttl time.Duration, subjects []string) Request[Done] {
	args := append([]string{millis(ttl)}, subjects...)
	return Request[Done]{
		Op:      op,
		Command: Command{Script: scriptNotify, Keys: []string{key}, Args: args},
		Decode:  done(op),
	}
}

// NewGeneration makes all workers report their slots again: the store lost data.
func NewGeneration() Request[Done] {
	const op = "begin generation"
	return Request[Done]{
		Op:      op,
		Command: Command{Script: scriptGeneration, Keys: []string{generationKey()}},
		Decode:  done(op),
	}
}
