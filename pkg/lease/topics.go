package lease

// Topics of hints. A hint makes the watchers of its topic read the store again; it carries no state itself.
const (
	// TopicFleet is hinted when a worker or a proxy registers, drains or leaves.
	TopicFleet = "fleet"
	// TopicPools is hinted when an edge pool is published.
	TopicPools = "pools"
	// TopicGrants is hinted when slots were granted or released; workers watch it.
	TopicGrants = "grants"
	// TopicStatus is hinted when a holder's state changed; supervisors watch it.
	TopicStatus = "status"
)
