package command

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// PutWorker writes or renews a worker's registration, which ends after ttl.
func PutWorker(w fleet.Worker, ttl time.Duration) (Request[Done], error) {
	r, err := put(workers, string(w.ID), w, ttl)
	r.Keys = append(r.Keys, revisionsKey())
	return r, err
}

// RemoveWorker ends the registration and the lease of a worker's process. One that does not exist, or belongs to another process, is no
// error.
func RemoveWorker(id tunnel.WorkerID, instance string) Request[Done] {
	r := remove(workers, string(id))
	r.Keys = append(r.Keys, instancesKey(), inboxKey(id), revisionsKey())
	r.Args = append(r.Args, instance)
	return r
}

// Workers lists the registrations that have not expired, by id.
func Workers() Request[[]fleet.Worker] {
	return list(workers, func(w fleet.Worker) string { return string(w.ID) })
}

// Fleet lists the registrations of workers that have not expired, by id, and the tunnels that were marked since the version known of the
// marks; 0 is none. Records that cannot be read hide no others.
func Fleet(known uint64) Request[fleet.Listing] { return (&Listed{}).Fleet(known) }

// Listed are the workers that one caller has listed before: a record is sent again only after it changed. With a thousand tunnels it is
// long, and it is asked for every second. The zero value knows none. It is not safe for concurrent use; after the replies of two requests
// at the same time what it knows is as old as the older one, which the next request mends.
type Listed struct {
	revision uint64
	workers  map[tunnel.WorkerID]fleet.Worker
}

// Fleet is the function Fleet for the caller. Decode takes what is new into l.
func (l *Listed) Fleet(known uint64) Request[fleet.Listing] {
	const op = "list fleet"
	return Request[fleet.Listing]{
		Op: op,
		Command: Command{
			Script: scriptFleet, Keys: append(registryKeys(workers), marksKey(), revisionsKey(), instancesKey()),
			Args: []string{strconv.FormatUint(known, 10), strconv.FormatUint(l.revision, 10)},
		},
		Decode: func(reply any) (fleet.Listing, error) { return l.take(op, reply) },
	}
}

func (l *Listed) take(op string, reply any) (fleet.Listing, error) {
	words, err := texts(op, reply)
	if err != nil {
		return fleet.Listing{}, err
	}
	if len(words) < 3 {
		return fleet.Listing{}, badReply(op, reply)
	}
	n, err := strconv.Atoi(words[1])
	if err != nil || n < 0 || n > len(words)-3 || (len(words)-n)%2 != 1 {
		return fleet.Listing{}, badReply(op, reply)
	}
	var list fleet.Listing
	list.Marks, _ = strconv.ParseUint(words[0], 10, 63) // a version that cannot be read is read anew
	for _, word := range words[2 : 2+n] {
		if word == markDesired {
			list.Desired = true
		} else if id, err := tunnel.ParseID(word); err == nil {
			list.Marked = append(list.Marked, id)
		}
	}
	list.Workers, err = l.records(op, words[3+n:])
	l.revision = 0 // all is read again as long as a record cannot be read
	if err == nil {
		l.revision, _ = strconv.ParseUint(words[2+n], 10, 63) // one that cannot be read is none
	}
	return list, err
}

// records reads pairs of an id and its record, which is empty if it is the one that the caller has. The readable ones come with the error
// of the first bad one, sorted by id.
func (l *Listed) records(op string, pairs []string) ([]fleet.Worker, error) {
	workers := make(map[tunnel.WorkerID]fleet.Worker, len(pairs)/2)
	list := make([]fleet.Worker, 0, len(pairs)/2)
	var bad error
	for ; len(pairs) > 0; pairs = pairs[2:] {
		id := tunnel.WorkerID(pairs[0])
		w, known := l.workers[id]
		if pairs[1] != "" {
			w = fleet.Worker{}
			if err := json.Unmarshal([]byte(pairs[1]), &w); err != nil {
				bad = cmp.Or(bad, fmt.Errorf("%s: stored record: %w", op, err))
				continue
			}
		} else if !known {
			bad = cmp.Or(bad, fmt.Errorf("%s: no record of %s", op, id))
			continue
		}
		workers[id] = w
		list = append(list, w)
	}
	l.workers = workers
	slices.SortFunc(list, func(a, b fleet.Worker) int { return cmp.Compare(a.ID, b.ID) })
	return list, bad
}

// PutProxy writes or renews a proxy's registration, which ends after ttl.
func PutProxy(p fleet.Proxy, ttl time.Duration) (Request[Done], error) {
	return put(proxies, string(p.ID), p, ttl)
}

// RemoveProxy ends a proxy's registration. One that does not exist is no error.
func RemoveProxy(id tunnel.ProxyID) Request[Done] { return remove(proxies, string(id)) }

// Proxies lists the registrations that have not expired, by id.
func Proxies() Request[[]fleet.Proxy] {
	return list(proxies, func(p fleet.Proxy) string { return string(p.ID) })
}

// PutTail writes or renews the record of a log stream, which ends after ttl.
func PutTail(t fleet.Tail, ttl time.Duration) (Request[Done], error) {
	return put(tails, t.Session, t, ttl)
}

// RemoveTail ends the record of a log stream. One that does not exist is no error.
func RemoveTail(session string) Request[Done] { return remove(tails, session) }

// Tails lists the log streams whose records have not expired, by session.
func Tails() Request[[]fleet.Tail] {
	return list(tails, func(t fleet.Tail) string { return t.Session })
}

func put(kind, id string, record any, ttl time.Duration) (Request[Done], error) {
	op := "register " + kind
	if id == "" {
		return Request[Done]{}, fmt.Errorf("%s: empty id", op)
	}
	body, err := json.Marshal(record)
	if err != nil {
		return Request[Done]{}, fmt.Errorf("%s %s: %w", op, id, err)
	}
	return Request[Done]{
		Op:      op,
		Command: Command{Script: scriptPut, Keys: registryKeys(kind), Args: []string{id, millis(ttl), string(body)}},
		Decode:  done(op),
	}, nil
}

func remove(kind, id string) Request[Done] {
	op := "remove " + kind
	return Request[Done]{
		Op:      op,
		Command: Command{Script: scriptRemove, Keys: registryKeys(kind), Args: []string{id}},
		Decode:  done(op),
	}
}

// list lists the records of a kind in the order of their ids. Records that cannot be read hide no others: the readable ones come with the
// error of the first bad one.
func list[T any](kind string, id func(T) string) Request[[]T] {
	op := "list " + kind
	return Request[[]T]{
		Op:      op,
		Command: Command{Script: scriptList, Keys: registryKeys(kind)},
		Decode: func(reply any) ([]T, error) {
			bodies, err := texts(op, reply)
			if err != nil {
				return nil, err
			}
			return decodeRecords(op, bodies, id)
		},
	}
}

// decodeRecords reads records, sorted by id. The readable ones come with the error of the first bad one.
func decodeRecords[T any](op string, bodies []string, id func(T) string) ([]T, error) {
	found := make([]T, 0, len(bodies))
	var bad error
	for _, body := range bodies {
		var record T
		if err := json.Unmarshal([]byte(body), &record); err != nil {
			bad = cmp.Or(bad, fmt.Errorf("%s: stored record: %w", op, err))
			continue
		}
		found = append(found, record)
	}
	slices.SortFunc(found, func(a, b T) int { return cmp.Compare(id(a), id(b)) })
	return found, bad
}
