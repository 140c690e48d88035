package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/culvert-tunnel/culvert/pkg/control/plan"
	"github.com/culvert-tunnel/culvert/pkg/desired"
	"github.com/culvert-tunnel/culvert/pkg/edgepool"
	"github.com/culvert-tunnel/culvert/pkg/fleet"
	"github.com/culvert-tunnel/culvert/pkg/lease"
	"github.com/culvert-tunnel/culvert/pkg/opsapi"
	"github.com/culvert-tunnel/culvert/pkg/opstoken"
	"github.com/culvert-tunnel/culvert/pkg/redisstore/command"
	"github.com/culvert-tunnel/culvert/pkg/rules"
	"github.com/culvert-tunnel/culvert/pkg/tunnel"
)

// Fleet is what the API reads of the deployment.
type Fleet interface {
	Fleet(ctx context.Context, marks uint64) (fleet.Listing, error)
	Pool(ctx context.Context, name string) (edgepool.Pool, error)
	Connector(ctx context.Context, id tunnel.ID) (tunnel.ConnectorID, error)
	Slots(ctx context.Context, id tunnel.ID, connector tunnel.ConnectorID) (lease.Table, error)
}

// Wishes is what operators desire, and what they change of it.
type Wishes interface {
	Desired(ctx context.Context, known uint64) (command.Read, error)
	SetDesired(
		ctx context.Context, id tunnel.ID, expect uint64, spec desired.Spec, author string, poolChanges bool,
	) (version uint64, err error)
	SetDrained(ctx context.Context, id tunnel.WorkerID, expect uint64, drained bool, author string) (version uint64, err error)
	Submit(ctx context.Context, c desired.Command, ttl time.Duration) (desired.Status, error)
	Result(ctx context.Context, id string) (desired.Status, error)
}

// Signals wakes other processes.
type Signals interface {
	MarkDesired(ctx context.Context) error
	Hint(ctx context.Context, topic string) error
	Watch(ctx context.Context, topics ...string) <-chan struct{}
}

// Store is the part of the shared state that the API uses.
type Store interface {
	Fleet
	Wishes
	Signals
}

// Configurations are the versions of tunnels' configurations, and the proxies that follow them.
type Configurations interface {
	Rules(ctx context.Context, id tunnel.ID, number uint64) (rules.History, error)
	RuleHistory(ctx context.Context, id tunnel.ID) (rules.History, error)
	PutRules(ctx context.Context, id tunnel.ID, expect uint64, head rules.Head, seal func(rules.Position) string) (uint64, error)
	ResealRules(ctx context.Context, id tunnel.ID, number uint64, former, sealed string) error
	Proxies(ctx context.Context) ([]fleet.Proxy, error)
}

// Tokens are the tokens of the ops API.
type Tokens interface {
	Tokens(ctx context.Context) ([]opstoken.Token, error)
	PutToken(ctx context.Context, t opstoken.Token) error
	RemoveToken(ctx context.Context, id string) (bool, error)
	UseToken(ctx context.Context, id string, at time.Time) error
}

// Journal is the journals of the store.
type Journal interface {
	Append(ctx context.Context, journal, body string, most int) (id string, err error)
	After(ctx context.Context, journal, id string, count int) ([]command.Entry, error)
	Before(ctx context.Context, journal, id string, count int) ([]command.Entry, error)
	TakeLead(ctx context.Context, role, holder string, ttl time.Duration) (bool, error)
	ResignLead(ctx context.Context, role, holder string) error
}

// Once is the requests that have a key, so that none is carried out twice.
type Once interface {
	Claim(ctx context.Context, key, mark string, ttl time.Duration) (bool, error)
	Claimed(ctx context.Context, key string) (string, error)
	Settle(ctx context.Context, key, response string, ttl time.Duration) error
	Unclaim(ctx context.Context, key string) error
}

// Records is what the store keeps for the API itself.
type Records interface {
	Tokens
	Journal
	Once
}

// View is what the supervisor itself knows.
type View struct {
	// Leading says that it plans, Fresh that Connectors is up to date.
	Leading, Fresh bool
	Connectors     []plan.Connector
	// Member is the supervisor's name among those that plan, Owners the name of the one that plans for each shard; Current says that this is
	// up to date.
	Member  string
	Owners  []string
	Current bool
}

// Deps are the dependencies of the API.
type Deps struct {
	// ID names the supervisor.
	ID    string
	Store Store
	// Configurations and Key may be nil: then no configurations are offered, and no proxies are listed.
	Configurations Configurations
	Key            *rules.Key
	// Records may be nil: then there are no tokens and no journals, and a request with a key is like any other.
	Records Records
	Logger  *slog.Logger
	// Connections is the number of connections of a tunnel that sets none.
	Connections int
	View        func() View
}

// API holds the handlers.
type API struct {
	Deps
	memory memory
	tokens tokenCache
	// waiting are the events that wait for the store, dropped those for which there was no place.
	waiting chan opsapi.Event
	dropped atomic.Int64
	hub     hub
	// joined wakes the loop that feeds the hub, and group are the loops beside that of Run.
	joined chan struct{}
	group  sync.WaitGroup
}

// New makes the handlers.
func New(deps Deps) *API {
	return &API{Deps: deps, waiting: make(chan opsapi.Event, maxWaiting), joined: make(chan struct{}, 1)}
}

// handlers are the handlers by the id of their operation.
func (a *API) handlers() map[string]echo.HandlerFunc {
	return map[string]echo.HandlerFunc{
		"getStatus": a.status, "listTunnels": a.tunnels, "getTunnel": a.tunnel, "listConnectors": a.connectors, "listSlots": a.slots,
		"listWorkers": a.workers, "getWorker": a.worker, "listProxies": a.proxies, "listPools": a.pools, "getTunnelSlots": a.tunnelSlots,
		"listShards": a.shards,

		"getDesired": a.desired, "getTunnelDesired": a.tunnelDesired, "setTunnelDesired": a.setDesired, "setWorkerDrain": a.drain,
		"submitCommand": a.submit, "getCommand": a.command,

		"drainWorker": a.drainWorker(true), "undrainWorker": a.drainWorker(false), "pauseTunnel": a.pause(true), "resumeTunnel": a.pause(false),
		"scaleTunnel": a.scale, "reconnectSlot": a.order(desired.Reconnect), "moveSlot": a.order(desired.Move),

		"listEvents": a.listEvents, "streamEvents": a.streamEvents,

		"listTokens": a.listTokens, "createToken": a.createToken, "revokeToken": a.revokeToken, "listChanges": a.listChanges,

		"getConfigurations": a.configurations, "setConfiguration": a.setConfiguration, "getConfiguration": a.configuration,
		"validateConfiguration": a.validate, "diffConfigurations": a.diff, "rollbackConfiguration": a.rollback,
		"resealConfigurations": a.reseal,

		"getOpenAPI": a.openAPI, "getDocs": a.docs, "getDocsStyle": a.style,
	}
}

// Routes mounts the handlers.
func (a *API) Routes(g *echo.Group) {
	handlers := a.handlers()
	for _, o := range opsapi.Operations() {
		if h := handlers[o.ID]; h != nil { // a test finds an operation without a handler
			g.Add(o.Method, o.Route(), a.wrapped(o, h))
		}
	}
}

// wrapped adds to a handler what its operation says: the audit log, and idempotency keys.
func (a *API) wrapped(o opsapi.Operation, h echo.HandlerFunc) echo.HandlerFunc {
	if o.Method == http.MethodGet || a.Records == nil {
		return h
	}
	if !o.Silent {
		h = a.audited(o, h)
	}
	if o.Idempotent {
		h = a.once(h)
	}
	return h
}

// badRequest is the error for a request that cannot be read.
func badRequest(err error) error { return echo.NewHTTPError(http.StatusBadRequest, err.Error()) }

func tunnelOf(c echo.Context) (tunnel.ID, error) {
	id, err := tunnel.ParseID(c.Param("tunnel"))
	if err != nil {
		return id, badRequest(err)
	}
	return id, nil
}

// param decodes a path parameter, which the router leaves escaped when the path needed escaping.
func param(c echo.Context, name string) (string, error) {
	v := c.Param(name)
	if c.Request().URL.RawPath == "" {
		return v, nil
	}
	v, err := url.PathUnescape(v)
	if err != nil {
		return "", echo.NewHTTPError(http.StatusBadRequest, "malformed path")
	}
	return v, nil
}

// maxBody bounds the body of a request that holds no configuration, in bytes.
const maxBody = desired.MaxBytes

// bodyOf reads the body of a request, as far as it can be valid.
func bodyOf(c echo.Context) ([]byte, error) { return readBody(c, maxBody) }

// readBody reads the body of a request, and one byte more than most allows.
func readBody(c echo.Context, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(c.Request().Body, most+1))
	if err != nil {
		return nil, badRequest(err)
	}
	return b, nil
}

// tagged sends a response with the ETag of a version, or 304 if the caller has it.
func tagged(c echo.Context, version uint64, v any) error {
	tag := strconv.Quote(strconv.FormatUint(version, 10))
	c.Response().Header().Set("ETag", tag)
	if r := c.Request(); r.Method == http.MethodGet || r.Method == http.MethodHead {
		for given := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
			if given = strings.TrimPrefix(strings.TrimSpace(given), "W/"); given == tag {
				return c.NoContent(http.StatusNotModified)
			}
		}
	}
	return c.JSON(http.StatusOK, v)
}
