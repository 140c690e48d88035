package opsapi

import (
	"net/http"
	"strings"

	"github.com/culvert-tunnel/culvert/pkg/desired"
)

// Parameter is a query parameter or a header of an operation.
type Parameter struct {
	Name, Doc string
	// Integer says that the value is a number.
	Integer bool
}

// Operation is one operation of the API.
type Operation struct {
	// ID names it, in the document and for the handlers.
	ID string
	// Method and Path are its address below /v1, with parameters as {name}.
	Method, Path string
	// Scope is what a caller needs.
	Scope Scope
	// Tag groups operations, Summary says what it does.
	Tag, Summary string
	Query        []Parameter
	Headers      []Parameter
	// Body and Reply are values of the types of the request's and the response's JSON; nil without one.
	Body, Reply any
	// Media is the type of a response that is no JSON.
	Media string
	// Status is the status code of a success.
	Status int
	// Errors are status codes beside those that every operation may have.
	Errors []int
	// Tagged says that the response has an ETag, Conditional that the operation takes If-Match.
	Tagged, Conditional bool
	// Idempotent operations take an Idempotency-Key.
	Idempotent bool
	// Silent operations are not in the audit log, though they are no GET: they change nothing.
	Silent bool
	// Deprecated operations are kept for clients of former versions.
	Deprecated bool
}

// Route is the path of the operation below /v1 for a router that writes parameters as :name.
func (o *Operation) Route() string {
	return strings.NewReplacer("{", ":", "}", "").Replace(o.Path)
}

// The tags.
const (
	tagState   = "state"
	tagDesired = "desired"
	tagActions = "actions"
	tagConfig  = "configuration"
	tagEvents  = "events"
	tagAccess  = "access"
	tagAPI     = "api"
)

// Operations are the operations of a supervisor.
func Operations() []Operation {
	var out []Operation
	for _, part := range [][]Operation{states(), wishes(), actions(), configurations(), history(), access(), meta()} {
		out = append(out, part...)
	}
	for i := range out {
		if out[i].Status == 0 {
			out[i].Status = http.StatusOK
		}
	}
	return out
}

// Find is the operation of a supervisor with a method and a route as Route gives it.
func Find(method, route string) (Operation, bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, o := range Operations() {
		if o.Method == method && o.Route() == route {
			return o, true
		}
	}
	return Operation{}, false
}

func paged(more ...Parameter) []Parameter {
	return append([]Parameter{
		{Name: "limit", Doc: "most items of a page, 1 to 200; 50 without it", Integer: true},
		{Name: "cursor", Doc: "next_cursor of the page before"},
	}, more...)
}

func states() []Operation {
	get := func(id, path, summary string, reply any, query ...Parameter) Operation {
		return Operation{
			ID: id, Method: http.MethodGet, Path: path, Scope: Read, Tag: tagState, Summary: summary, Reply: reply, Query: query,
		}
	}
	one := get("getTunnel", "/tunnels/{tunnel}", "State of one tunnel, with its slots", TunnelState{})
	one.Errors = []int{http.StatusNotFound}
	worker := get("getWorker", "/workers/{worker}", "One worker", Worker{})
	worker.Errors = []int{http.StatusNotFound}
	slots := get("getTunnelSlots", "/tunnels/{tunnel}/slots", "Records of a tunnel's slots as the store has them", TunnelSlots{})
	slots.Errors = []int{http.StatusNotFound}
	return []Operation{
		get("getStatus", "/status", "The whole deployment at a glance", Status{}),
		get("listTunnels", "/tunnels", "Tunnels and how many of their connections are up", Tunnels{}, paged()...),
		one, slots,
		get("listConnectors", "/connectors", "Connectors of the tunnels", Connectors{}, paged()...),
		get("listSlots", "/slots", "Slots: who holds which connection index, where, and in which state", Slots{},
			paged(Parameter{Name: "tunnel", Doc: "only slots of this tunnel"})...),
		get("listWorkers", "/workers", "Registered workers", Workers{}, paged()...),
		worker,
		get("listProxies", "/proxies", "Registered proxies", Proxies{}, paged()...),
		get("listShards", "/shards", "Supervisors, and for which shards of the tunnels each of them plans", Shards{}),
		get("listPools", "/pools", "Pools of edge addresses", Pools{}, paged()...),
	}
}

func wishes() []Operation {
	return []Operation{
		{
			ID: "getDesired", Method: http.MethodGet, Path: "/desired", Scope: Read, Tag: tagDesired,
			Summary: "Everything that operators desire, and the commands that wait", Reply: Desired{},
		},
		{
			ID: "getTunnelDesired", Method: http.MethodGet, Path: "/desired/{tunnel}", Scope: Read, Tag: tagDesired,
			Summary: "What operators desire of a tunnel; version 0 is no document", Reply: DesiredTunnel{}, Tagged: true,
		},
		{
			ID: "setTunnelDesired", Method: http.MethodPut, Path: "/desired/{tunnel}", Scope: Operate, Tag: tagDesired,
			Summary: "Replace what operators desire of a tunnel, if the version is still that of If-Match or of the body",
			Body:    desired.Change{}, Reply: DesiredTunnel{}, Tagged: true, Conditional: true, Idempotent: true,
			Errors: []int{http.StatusConflict},
		},
		{
			ID: "setWorkerDrain", Method: http.MethodPut, Path: "/workers/{worker}/drain", Scope: Operate, Tag: tagActions,
			Summary: "Drain a worker, or end that", Body: desired.MarkChange{}, Reply: WorkerMark{}, Idempotent: true,
			Errors: []int{http.StatusNotFound, http.StatusConflict},
		},
		{
			ID: "submitCommand", Method: http.MethodPost, Path: "/commands", Scope: Operate, Tag: tagActions,
			Summary: "Order a reconnect or a move of one slot; the id of the command makes it idempotent",
			Body:    desired.Submission{}, Reply: Command{}, Status: http.StatusAccepted, Idempotent: true, Errors: []int{http.StatusConflict},
		},
		{
			ID: "getCommand", Method: http.MethodGet, Path: "/commands/{id}", Scope: Read, Tag: tagActions,
			Summary: "A command with its result", Reply: Command{}, Errors: []int{http.StatusNotFound},
		},
	}
}

// actions are orders. Those that change the desired state keep what they do not name.
func actions() []Operation {
	post := func(id, path, summary string, body, reply any, status int) Operation {
		return Operation{
			ID: id, Method: http.MethodPost, Path: path, Scope: Operate, Tag: tagActions, Summary: summary, Body: body, Reply: reply,
			Status: status, Idempotent: true, Errors: []int{http.StatusNotFound, http.StatusConflict},
		}
	}
	const slot = "/tunnels/{tunnel}/slots/{index}"
	return []Operation{
		post("drainWorker", "/workers/{worker}/drain", "Move the connections of a worker to others; it gets no new ones", Author{},
			WorkerMark{}, 0),
		post("undrainWorker", "/workers/{worker}/undrain", "Let a worker have connections again", Author{}, WorkerMark{}, 0),
		post("pauseTunnel", "/tunnels/{tunnel}/pause", "End all connections of a tunnel until it is resumed", Author{}, DesiredTunnel{}, 0),
		post("resumeTunnel", "/tunnels/{tunnel}/resume", "Let a tunnel have connections again", Author{}, DesiredTunnel{}, 0),
		post("scaleTunnel", "/tunnels/{tunnel}/scale", "Set the number of connections of a tunnel", Scale{}, DesiredTunnel{}, 0),
		post("reconnectSlot", slot+"/reconnect", "End a connection and make it again", SlotAction{}, Command{}, http.StatusAccepted),
		post("moveSlot", slot+"/move", "Make a connection elsewhere, then end the old one", SlotAction{}, Command{}, http.StatusAccepted),
	}
}

func access() []Operation {
	return []Operation{
		{
			ID: "listTokens", Method: http.MethodGet, Path: "/tokens", Scope: Admin, Tag: tagAccess, Summary: "Tokens, without their secrets",
			Reply: Tokens{}, Query: paged(), Errors: []int{http.StatusNotImplemented},
		},
		{
			ID: "createToken", Method: http.MethodPost, Path: "/tokens", Scope: Admin, Tag: tagAccess, Summary: "Make a token; it is shown once",
			Body: NewToken{}, Reply: MadeToken{}, Status: http.StatusCreated, Errors: []int{http.StatusConflict, http.StatusNotImplemented},
		},
		{
			ID: "revokeToken", Method: http.MethodDelete, Path: "/tokens/{id}", Scope: Admin, Tag: tagAccess,
			Summary: "Revoke a token: no supervisor takes it a second later", Status: http.StatusNoContent,
			Errors: []int{http.StatusNotFound, http.StatusNotImplemented},
		},
		{
			ID: "listChanges", Method: http.MethodGet, Path: "/audit", Scope: Admin, Tag: tagAccess,
			Summary: "Who changed what: the last 1,000 changes, the newest first", Reply: Changes{}, Query: paged(),
			Errors: []int{http.StatusNotImplemented},
		},
	}
}

func history() []Operation {
	return []Operation{
		{
			ID: "listEvents", Method: http.MethodGet, Path: "/events", Scope: Read, Tag: tagEvents,
			Summary: "What happened: the last 10,000 events, the newest first", Reply: Events{}, Query: paged(),
			Errors: []int{http.StatusNotImplemented},
		},
		{
			ID: "streamEvents", Method: http.MethodGet, Path: "/events/stream", Scope: Read, Tag: tagEvents,
			Summary: "Events as they happen (server-sent events); after a Last-Event-ID those that came since, first", Media: "text/event-stream",
			Query:   []Parameter{{Name: "after", Doc: "as Last-Event-ID"}},
			Headers: []Parameter{{Name: "Last-Event-ID", Doc: "id of the last event that the caller has; without it the stream begins now"}},
			Errors:  []int{http.StatusNotImplemented},
		},
	}
}

func configurations() []Operation {
	missing := []int{http.StatusNotImplemented, http.StatusNotFound}
	return []Operation{
		{
			ID: "getConfigurations", Method: http.MethodGet, Path: "/tunnels/{tunnel}/config", Scope: Read, Tag: tagConfig,
			Summary: "Versions of a tunnel's configuration, and what became of the newest at each proxy", Reply: Configurations{},
			Tagged: true, Errors: missing[:1],
		},
		{
			ID: "setConfiguration", Method: http.MethodPut, Path: "/tunnels/{tunnel}/config", Scope: Admin, Tag: tagConfig,
			Summary: "Put a configuration in force, if the newest version is still that of If-Match or of the body",
			Body:    ConfigurationChange{}, Reply: Configurations{}, Tagged: true, Conditional: true, Idempotent: true,
			Errors: append(missing, http.StatusConflict),
		},
		{
			ID: "getConfiguration", Method: http.MethodPost, Path: "/tunnels/{tunnel}/config/document", Scope: Admin, Tag: tagConfig,
			Summary: "A version with its document, which may hold passwords", Body: DocumentRequest{}, Reply: Configuration{},
			Errors: append(missing, http.StatusConflict),
		},
		{
			ID: "validateConfiguration", Method: http.MethodPost, Path: "/tunnels/{tunnel}/config/validate", Scope: Operate, Tag: tagConfig,
			Summary: "Check a configuration without putting it in force", Body: ConfigurationCheck{}, Reply: Validation{},
			Silent: true,
		},
		{
			ID: "diffConfigurations", Method: http.MethodPost, Path: "/tunnels/{tunnel}/config/diff", Scope: Admin, Tag: tagConfig,
			Summary: "Compare two versions, or a version with a document", Body: DiffRequest{}, Reply: Difference{},
			Errors: append(missing, http.StatusConflict),
		},
		{
			ID: "rollbackConfiguration", Method: http.MethodPost, Path: "/tunnels/{tunnel}/config/rollback", Scope: Admin, Tag: tagConfig,
			Summary: "Put a former version in force again, as a new version", Body: Rollback{}, Reply: Configurations{}, Tagged: true,
			Conditional: true, Idempotent: true, Errors: append(missing, http.StatusConflict),
		},
		{
			ID: "resealConfigurations", Method: http.MethodPost, Path: "/tunnels/{tunnel}/config/reseal", Scope: Admin, Tag: tagConfig,
			Summary: "Seal the kept versions with the first key of config_key_file", Reply: Resealed{}, Errors: missing[:1],
		},
	}
}

func meta() []Operation {
	return []Operation{
		{
			ID: "getOpenAPI", Method: http.MethodGet, Path: "/openapi.json", Scope: Read, Tag: tagAPI,
			Summary: "This document", Media: "application/json",
		},
		{
			ID: "getDocs", Method: http.MethodGet, Path: "/docs", Scope: Read, Tag: tagAPI,
			Summary: "This document as a page for people", Media: "text/html",
		},
		{
			ID: "getDocsStyle", Method: http.MethodGet, Path: "/docs.css", Scope: Read, Tag: tagAPI,
			Summary: "Style of the page for people", Media: "text/css",
		},
	}
}
