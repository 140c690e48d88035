package process

// Default addresses of the private listeners, one port per service so that all of them can run on one host.
const (
	OpsDiscovery  = "127.0.0.1:8101"
	OpsSupervisor = "127.0.0.1:8102"
	OpsConnWorker = "127.0.0.1:8103"
	OpsProxy      = "127.0.0.1:8104"
	OpsEdge       = "127.0.0.1:8105"
)
