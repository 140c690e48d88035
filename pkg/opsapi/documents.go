package opsapi

import (
	"time"

	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Page is what every list has beside its items.
type Page struct {
	NextCursor string `json:"next_cursor,omitempty" doc:"cursor of the next page; absent on the last one"`
	Freshness
}

// Freshness says how old a response is.
type Freshness struct {
	StaleSince time.Time `json:"stale_since,omitzero" doc:"set while the store is unavailable: the response is as of this time"`
}

// Health is the state of a tunnel or of a deployment in one word.
type Health string

// The states.
const (
	Up       Health = "up"       // as many connections as desired
	Degraded Health = "degraded" // fewer, but at least one
	Down     Health = "down"     // none
	Paused   Health = "paused"   // none, as an operator desires
	Idle     Health = "idle"     // no worker can serve it
)

// Tunnel is the state of a tunnel.
type Tunnel struct {
	ID        tunnel.ID             `json:"tunnel_id" doc:"id of the tunnel"`
	Connector string                `json:"connector_id,omitempty" doc:"id of its connector; absent before the first connection"`
	Health    Health                `json:"health" doc:"up, degraded, down, paused, or idle: no worker can serve it"`
	Desired   int                   `json:"desired_connections" doc:"number of connections that it should have"`
	Connected int                   `json:"connected" doc:"number of connections that it has"`
	Slots     int                   `json:"slots" doc:"number of connection indices that a worker holds, connected or not"`
	Protocol  string                `json:"protocol,omitempty" doc:"transport that an operator requires: quic, http2"`
	Pool      string                `json:"pool" doc:"name of its edge pool; empty is the default pool"`
	Version   uint64                `json:"desired_version,omitempty" doc:"version of the operators' document that it follows"`
	Workers   []tunnel.WorkerID     `json:"workers" doc:"workers that can serve it"`
	Edges     map[tunnel.Region]int `json:"connected_by_region,omitempty" doc:"number of connections to each region of the edge"`
}

// Tunnels is a page of tunnels, in the order of their ids.
type Tunnels struct {
	Items []Tunnel `json:"items" doc:"tunnels in the order of their ids"`
	Page
}

// TunnelState is a tunnel with its slots.
type TunnelState struct {
	Tunnel
	Items []Slot `json:"items" doc:"slots of the tunnel by connection index"`
	Freshness
}

// Connector is the connector of a tunnel: what the edge sees as one cloudflared.
type Connector struct {
	ID        tunnel.ConnectorID `json:"connector_id" doc:"id that the connector registers with"`
	Tunnel    tunnel.ID          `json:"tunnel_id" doc:"id of its tunnel"`
	Health    Health             `json:"health" doc:"up, degraded, down, paused or idle"`
	Desired   int                `json:"desired_connections" doc:"number of connections that it should have"`
	Connected int                `json:"connected" doc:"number of connections that it has"`
	Workers   []tunnel.WorkerID  `json:"workers" doc:"workers that hold its slots"`
}

// Connectors is a page of connectors, in the order of their tunnels.
type Connectors struct {
	Items []Connector `json:"items" doc:"connectors in the order of their tunnels' ids"`
	Page
}

// Slot is a connection index of a tunnel and its holder.
type Slot struct {
	Tunnel    tunnel.ID          `json:"tunnel_id" doc:"id of the tunnel"`
	Connector tunnel.ConnectorID `json:"connector_id" doc:"id of the connector"`
	Index     tunnel.ConnIndex   `json:"conn_index" doc:"connection index, from 0"`
	Epoch     tunnel.Epoch       `json:"epoch" doc:"epoch of the lease; grows with each grant"`
	Worker    tunnel.WorkerID    `json:"worker_id,omitempty" doc:"worker that holds the slot; absent if none does"`
	Live      bool               `json:"live" doc:"whether the lease of its holder has not ended"`
	State     lease.State        `json:"state" doc:"granted, connecting, connected, failed, refused, draining; empty for a free slot"`
	Edge      string             `json:"edge_addr,omitempty" doc:"edge address in use"`
	Region    tunnel.Region      `json:"region,omitempty" doc:"region of that address"`
	Location  string             `json:"location,omitempty" doc:"location that the edge reported"`
	Protocol  tunnel.Protocol    `json:"protocol,omitempty" doc:"transport in use, or of the last attempt"`
	Retries   int                `json:"retries,omitempty" doc:"failed attempts since the last success"`
	Reason    tunnel.Reason      `json:"reason,omitempty" doc:"why the last attempt failed"`
	Error     string             `json:"error,omitempty" doc:"text of the last failure"`
	Deaths    int                `json:"deaths,omitempty" doc:"processes in a row that ended without a drain while they held the slot"`
}

// Slots is a page of slots, in the order of tunnel and index. It also has the former form of this response.
type Slots struct {
	Items []Slot `json:"items" doc:"slots in the order of tunnel id and connection index"`
	Page
	Leading    bool            `json:"leading" doc:"whether this supervisor plans"`
	Fresh      bool            `json:"fresh" doc:"whether connectors is up to date: only a supervisor that plans keeps it"`
	Connectors []ConnectorView `json:"connectors" doc:"former form of this response, on its first page: what the planning supervisor knows"`
}

// ConnectorView is a connector as the supervisor that plans knows it.
type ConnectorView struct {
	Tunnel      tunnel.ID          `json:"tunnel_id" doc:"id of the tunnel"`
	Connector   tunnel.ConnectorID `json:"connector_id" doc:"id of the connector"`
	Connections int                `json:"connections" doc:"number of connections that it should have"`
	Paused      bool               `json:"paused,omitempty" doc:"whether an operator wants no connections"`
	Version     uint64             `json:"desired_version,omitempty" doc:"version of the operators' document"`
	Slots       []lease.Record     `json:"slots" doc:"records of its slots"`
}

// Worker is a registered conn-worker.
type Worker struct {
	ID       tunnel.WorkerID `json:"worker_id" doc:"id of the worker"`
	Host     string          `json:"host" doc:"host that it runs on"`
	Version  string          `json:"version" doc:"version of the program"`
	PID      int             `json:"pid,omitempty" doc:"process id"`
	Started  time.Time       `json:"started_at,omitzero" doc:"when the process started"`
	Capacity int             `json:"capacity" doc:"number of slots that it is willing to hold; 0 while it knows no proxy"`
	Tunnels  []tunnel.ID     `json:"tunnels" doc:"tunnels that it can serve"`
	Draining bool            `json:"draining" doc:"whether it drains by itself, before it ends"`
	Drained  bool            `json:"drained" doc:"whether an operator has drained it"`
}

// Workers is a page of workers, in the order of their ids.
type Workers struct {
	Items []Worker `json:"items" doc:"workers in the order of their ids"`
	Page
}

// Proxy is a registered proxy.
type Proxy struct {
	ID       tunnel.ProxyID `json:"proxy_id" doc:"id of the proxy"`
	Host     string         `json:"host" doc:"host that it runs on"`
	Version  string         `json:"version" doc:"version of the program"`
	Endpoint string         `json:"endpoint" doc:"where workers reach it: unix:/path or tcp:host:port"`
	Draining bool           `json:"draining" doc:"whether it takes no new requests"`
}

// Proxies is a page of proxies, in the order of their ids.
type Proxies struct {
	Items []Proxy `json:"items" doc:"proxies in the order of their ids"`
	Page
}

// Pool is a pool of edge addresses.
type Pool struct {
	Name    string    `json:"name" doc:"name of the pool; empty is the default pool"`
	Version uint64    `json:"version" doc:"version; grows with each change"`
	Source  string    `json:"source" doc:"srv, dot, static or cached"`
	Fetched time.Time `json:"fetched_at,omitzero" doc:"when discovery looked it up"`
	Regions []Region  `json:"regions" doc:"its regions"`
}

// Region is a region of a pool.
type Region struct {
	Name      tunnel.Region `json:"name" doc:"name of the region"`
	Addresses []string      `json:"addresses" doc:"its addresses, IPv4 first"`
}

// Pools is a page of pools, in the order of their names.
type Pools struct {
	Items []Pool `json:"items" doc:"pools in the order of their names"`
	Page
}

// Shards says which supervisor plans for which tunnels.
type Shards struct {
	Count  int          `json:"count" doc:"number of shards; a tunnel belongs to one by a hash of its id"`
	Fresh  bool         `json:"fresh" doc:"whether the supervisor that responds learned this within a second or so"`
	Owners []ShardOwner `json:"owners" doc:"supervisors that plan, by name"`
}

// ShardOwner is one supervisor with the shards that it plans for.
type ShardOwner struct {
	Supervisor string `json:"supervisor_id" doc:"id of the supervisor"`
	Member     string `json:"member" doc:"id of the supervisor, and of its process"`
	Self       bool   `json:"self,omitempty" doc:"whether it is the one that responds"`
	Shards     []int  `json:"shards" doc:"numbers of its shards"`
}

// Status is the whole deployment at a glance.
type Status struct {
	Health    Health   `json:"health" doc:"up, degraded, down, or idle: there is no tunnel"`
	Reasons   []string `json:"reasons" doc:"what is not as it should be, most important first"`
	Tunnels   int      `json:"tunnels" doc:"number of tunnels"`
	Up        int      `json:"tunnels_up" doc:"tunnels with all connections that they should have"`
	Desired   int      `json:"desired_connections" doc:"connections that there should be"`
	Connected int      `json:"connected" doc:"connections that there are"`
	Workers   int      `json:"workers" doc:"number of registered workers"`
	Proxies   int      `json:"proxies" doc:"number of registered proxies"`
	Leading   bool     `json:"leading" doc:"whether the supervisor that responds plans"`
	Truncated bool     `json:"truncated,omitempty" doc:"whether there are more tunnels than were counted"`
	Freshness
}
