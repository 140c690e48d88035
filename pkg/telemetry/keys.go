package telemetry

// Attribute keys of log lines; the same names are used in JSON, store records and metric labels.
const (
	KeyTunnelID    = "tunnel_id"
	KeyConnectorID = "connector_id"
	KeyConnIndex   = "conn_index"
	KeyWorkerID    = "worker_id"
	KeyProxyID     = "proxy_id"
	KeyEpoch       = "epoch"
	KeyRegion      = "region"
	KeyEdgeAddr    = "edge_addr"
	KeyProtocol    = "protocol"
	KeyRule        = "rule"
	KeyOrigin      = "origin"
	KeySessionID   = "session_id"
	KeyFlowID      = "flow_id"
	KeyPart        = "part"
	KeyErr         = "err"
)
