package lease

import "github.com/culvert-tunnel/culvert/pkg/tunnel"

// Topics of hints. A hint makes the watchers of its topic read the store again; it carries no state itself.
const (
	// TopicFleet is hinted when a worker or a proxy registers, drains or leaves.
	TopicFleet = "fleet"
	// TopicPools is hinted when an edge pool is published.
	TopicPools = "pools"
	// TopicGrants is hinted when slots were granted to, or taken from, a worker that keeps no lease as a whole; all workers watch it.
	TopicGrants = "grants"
	// TopicReports is hinted when workers are to look whether the store lost their leases.
	TopicReports = "reports"
	// TopicStatus is hinted when a holder's state changed; supervisors watch it.
	TopicStatus = "status"
	// TopicRules is hinted when an operator gave a tunnel another configuration; proxies watch it.
	TopicRules = "rules"
	// TopicQuota is hinted when a proxy lacks places of a limit that all proxies share; they renew their shares.
	TopicQuota = "quota"
)

// GrantsOf is the topic that is hinted when the inbox of a worker has changed.
func GrantsOf(id tunnel.WorkerID) string { return TopicGrants + "/" + string(id) }
