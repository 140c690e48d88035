package command

import "github.com/culvert-tunnel/culvert/pkg/tunnel"

// Every key is made here. Keys of one script share a hash tag, so that they lie in one slot of a cluster. Times are
// milliseconds of the server's clock; "deadline" fields are what decides, key TTLs only collect garbage.
//
//	key                           type    TTL           written by              read by
//	cv:pool:<name>                hash    none          discovery               supervisor, worker
//	    version, good (0|1: two regions or more), body (edgepool.Pool as JSON)
//	cv:lead:<role>                hash    30 days       the leader              all of the role
//	    holder, deadline, term (grows with each change; how a loss of data is noticed); of supervisors, which lead together, the holder is
//	    "(together)", and there are view (grows with each change of the members) and for each member m:<id>/<nonce> (deadline of its lease,
//	    its term, and the view of that)
//	cv:{worker}:records           hash    10 min more   worker                  supervisor, ops
//	cv:{worker}:deadlines         zset    10 min more   worker                  supervisor, ops
//	cv:{proxy}:records            hash    longest       proxy                   worker, ops
//	cv:{proxy}:deadlines          zset    longest       proxy                   worker, ops
//	    records: id -> JSON; deadlines: id scored by its deadline
//	cv:{worker}:instances         hash    10 min more   worker                  worker, supervisor
//	    id -> instance of the process and the number of its last renewal
//	cv:{worker}:revisions         hash    10 min more   worker                  supervisor
//	    id -> revision of its record and the instance that wrote it, and the highest one under the empty id: supervisors read a record
//	    when it changed
//	cv:{worker}:generation        string  none          worker, supervisor      worker
//	    changes when the store lost data: then all slots are reported again
//	cv:{worker}:inbox:<worker>    hash    10 min        supervisor              worker
//	    version, and for each tunnel whose slots changed the version of that change
//	cv:{worker}:marks             hash    10 min        worker, supervisor      supervisor
//	    version, and for each tunnel of which something changed, and for "desired" (what operators desire), the version of that change
//	cv:connector:<tunnel>         string  30 days       supervisor              supervisor, worker
//	    the connector's id; this and the keys below with 30 days are put off by each read of a supervisor or worker: they end for a tunnel
//	    that no registered worker serves, or for a connector id that is not in force any more
//	cv:{<tunnel>/<connector>}:slots     hash    30 days  supervisor, worker     supervisor, worker, ops
//	    per index i: i:epoch i:deadline i:renewed i:start (not before) i:worker i:edge i:region i:protocol i:status (JSON)
//	    i:retries (kept over grants until a connection succeeds) i:hold (until when the edge wants no attempt)
//	    i:starts (grants since the last connection); an epoch must not end before every process that knows it has, hence the long time
//	    i:instance (epoch/instance of the worker's process: the slot lives as long as that one's lease; empty or of another epoch: as long
//	    as its deadline) i:former (the worker that held it before, which has to be told) i:command i:reconnect (epoch/id of the operator's
//	    command that this grant carried out, and of the one that asks the holder to connect again)
//	cv:{<tunnel>/<connector>}:bucket    string  its wait + 60 s  supervisor     supervisor
//	    when the registration bucket is full again
//	cv:{<tunnel>/<connector>}:proved    string  10 min  worker                  supervisor
//	    deadline of the proof that the path works
//	cv:{<tunnel>/<connector>}:fence     string  30 days  supervisor             supervisor
//	    the highest term that read the slots; a grant under a lower one is refused
//	cv:{desired}:documents        hash    none          supervisor              supervisor
//	    version (grows with each change), and per subject s (tunnel/<tunnel> or worker/<worker>) s:version s:body (desired.Body as JSON)
//	    s:changed s:pool (version in which the pool changed) s:former (body before the last change). A document that desires nothing, and the
//	    mark of a worker that is not drained any more, are removed by a change 30 days later
//	cv:{desired}:commands         hash    20 min more   supervisor              supervisor
//	    per id: id:body (desired.Command as JSON) id:tunnel id:created id:deadline id:result
//	cv:{rules}:heads              hash    none          supervisor              proxy
//	    version (grows with each change), and per tunnel the number of its newest configuration
//	cv:{rules}:history:<tunnel>   hash    none          supervisor, proxy       supervisor, proxy
//	    newest, push (of the edge, the newest that a proxy reported), floor (the highest number that a proxy reported), per version n:
//	    n:head (author, hash as JSON) n:push (that it was made on top of) n:changed n:sealed (the document, encrypted), per proxy p
//	    result/p (ms of the time, then rules.Result as JSON), and of what came another way last (its highest number), nN:head, nN:push,
//	    nN:changed, nN:sealed, nN:key and note/KEY (source/push/hash to number); the zero tunnel has the local rules for all tunnels
//	cv:{ops}:tokens               hash    none          supervisor              supervisor
//	    per token of the ops API: id (opstoken.Token as JSON, with the hash of its secret) id:used (id, and ms when it was used last)
//	cv:{ops}:audit                stream  none          supervisor              supervisor
//	cv:{ops}:events               stream  none          supervisor              supervisor
//	    body (opsapi.Change as JSON: who changed what; opsapi.Event as JSON: what happened); a bounded number of entries
//	cv:{ops}:once:<key>           string  1 day         supervisor              supervisor
//	    a request with an idempotency key: the hash of its body and, when it is done, its response
//	cv:{quota/<tunnel>}:flows     hash    48 s          proxy                   proxy
//	    since (when the first share was given), and per process its share in the limit of private-network flows: "seq held used want ms"
//	cv:{tail}:records             hash    longest       proxy                   worker, proxy, supervisor, discovery
//	cv:{tail}:deadlines           zset    longest       proxy                   worker, proxy, supervisor, discovery
//	    who streams log lines (fleet.Tail): session -> JSON, and its deadline
//	cv:hint:<topic>               channel -             anybody                 anybody
//	    hints are empty; those on tail/<session> are log lines, redacted, on their way to the client of a log stream
const prefix = "cv:"

const (
	workers = "worker"
	proxies = "proxy"
	tails   = "tail"
)

func poolKey(name string) string { return prefix + "pool:" + name }

func leadKey(role string) string { return prefix + "lead:" + role }

func registryKeys(kind string) []string {
	tag := prefix + "{" + kind + "}"
	return []string{tag + ":records", tag + ":deadlines"}
}

func instancesKey() string { return prefix + "{" + workers + "}:instances" }

func revisionsKey() string { return prefix + "{" + workers + "}:revisions" }

func generationKey() string { return prefix + "{" + workers + "}:generation" }

func inboxKey(id tunnel.WorkerID) string { return prefix + "{" + workers + "}:inbox:" + string(id) }

func marksKey() string { return prefix + "{" + workers + "}:marks" }

func connectorKey(id tunnel.ID) string { return prefix + "connector:" + id.String() }

func connectorTag(id tunnel.ID, connector tunnel.ConnectorID) string {
	return prefix + "{" + id.String() + "/" + connector.String() + "}"
}

func slotsKey(id tunnel.ID, connector tunnel.ConnectorID) string {
	return connectorTag(id, connector) + ":slots"
}

func bucketKey(id tunnel.ID, connector tunnel.ConnectorID) string {
	return connectorTag(id, connector) + ":bucket"
}

func provedKey(id tunnel.ID, connector tunnel.ConnectorID) string {
	return connectorTag(id, connector) + ":proved"
}

func fenceKey(id tunnel.ID, connector tunnel.ConnectorID) string {
	return connectorTag(id, connector) + ":fence"
}

func documentsKey() string { return prefix + "{desired}:documents" }

func commandsKey() string { return prefix + "{desired}:commands" }

func ruleHeadsKey() string { return prefix + "{rules}:heads" }

func rulesKey(id tunnel.ID) string { return prefix + "{rules}:history:" + id.String() }

func tokensKey() string { return prefix + "{ops}:tokens" }

func journalKey(journal string) string { return prefix + "{ops}:" + journal }

func onceKey(key string) string { return prefix + "{ops}:once:" + key }

func quotaKey(id tunnel.ID) string { return prefix + "{quota/" + id.String() + "}:flows" }

// HintChannel is the channel on which the messages of a topic are published.
func HintChannel(topic string) string { return prefix + "hint:" + topic }
