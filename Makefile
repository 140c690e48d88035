# Everything a person types; `make help` lists the targets. A target installs what it needs and says so before, or says what is
# missing.

SHELL    := bash
BIN      := bin
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X github.com/culvert-tunnel/culvert/pkg/process.version=$(VERSION)
GOBUILD  := CGO_ENABLED=0 go build -trimpath -tags timetzdata -ldflags '$(LDFLAGS)'
SERVICES := discovery supervisor conn-worker proxy edge
MODULES  := pkg $(addprefix services/,$(SERVICES)) cli tests

.PHONY: help run test test-long sim measure check fmt generate lint tidy build images bench system chaos dropin h2spec scale fuzz clean toolchain

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.* ## ' Makefile | sed -E 's/^([a-z0-9-]+):.* ## /\1\t/' | awk -F'\t' '{printf "  %-10s %s\n", $$1, $$2}'

# run starts the whole system in one process, with a demo page behind it, and prints its public URL. ARGS adds flags.
# In a terminal it becomes the foreground job, so that Ctrl-C is for it alone: make would end with the signal instead of
# with the program's exit code.
run: toolchain ## start the whole system in one process and print its public URL; ARGS adds flags
	@$(GOBUILD) -o $(BIN)/culvert ./cli/cmd/culvert
	@if [ -t 0 ]; then set -m; $(BIN)/culvert up $(ARGS); else exec $(BIN)/culvert up $(ARGS); fi

# test runs the tests of every module, with the race detector where goroutines are, and prints at the end what was skipped and
# why. Tests that take long are in `make test-long`, the suites that need containers in `make system`.
test: toolchain ## run every test, with the race detector where goroutines are (installs redis-server, nginx and git where it may)
	@tests/deps.sh redis-server nginx git dnsmasq ip
	@tests/run.sh

# test-long runs every package that has long tests, with them, and the simulation with the race detector.
test-long: toolchain ## run the tests that take long as well
	@tests/deps.sh redis-server nginx git dnsmasq
	@CULVERT_TEST_LONG=1 tests/run.sh $$(tests/long.sh)
	go test -race -count=1 ./tests/sim/memstore ./tests/sim/engine
	go test -race -count=1 -run 'TestSeeds$$' ./tests/sim

# sim runs whole clusters in virtual time, with faults (docs/simulation.md): SEEDS many on all cores, or one SEED with its trace.
SEEDS ?= 1000
sim: toolchain ## simulate SEEDS many clusters with faults, or replay one SEED with its trace
	@go run ./tests/sim/cmd/sim $(if $(SEED),-seed $(SEED),-seeds $(SEEDS)) $(ARGS)

# check is what must hold before a change is taken: format, lint, tidy modules, every module on its own.
check: lint tidy ## lint, tidy modules, build each module on its own: what must hold before a change is taken
	@for m in $(MODULES); do echo "build $$m alone"; (cd $$m && GOWORK=off go build ./... && GOWORK=off go vet ./...) || exit 1; done

# measure prints the measures of the tree and their limits: sizes, import depth, share of pure code, tests per line of code.
measure: toolchain ## print the measures of the tree and their limits
	@go test -count=1 -v -run TestMeasures ./tests/arch

# fmt formats the code as the linter wants it.
fmt: toolchain $(BIN)/golangci-lint ## format the code
	@for m in $(MODULES); do (cd $$m && $(CURDIR)/$(BIN)/golangci-lint fmt --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

# generate rewrites what is made from the code: the references of commands, settings, metrics and error codes, and, where
# the capnp compiler is installed, the code of the wire schema.
generate: toolchain ## rewrite docs/reference and generated code
	@go test -count=1 ./cli/internal/reference -update
	@if command -v capnp >/dev/null; then \
	  GOWORK=off go -C tools build -o ../$(BIN)/capnpc-go capnproto.org/go/capnp/v3/capnpc-go && PATH="$(CURDIR)/$(BIN):$$PATH" go generate ./pkg/wire/schema; \
	else echo "capnp is not installed: pkg/wire/schema/edge.capnp.go stays as it is"; fi

lint: toolchain $(BIN)/golangci-lint ## format check and linters
	@for m in $(MODULES); do echo "lint $$m"; (cd $$m && $(CURDIR)/$(BIN)/golangci-lint run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done

tidy: toolchain ## check that every go.mod is tidy
	@for m in $(MODULES); do (cd $$m && GOWORK=off go mod tidy -diff) || { echo "$$m: go.mod is not tidy"; exit 1; }; done

$(BIN)/golangci-lint: tools/go.mod
	GOWORK=off go -C tools build -o ../$(BIN)/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# The gRPC project's own interop programs, for the system suite.
$(BIN)/grpc-interop-%: tools/go.mod
	GOWORK=off go -C tools build -o ../$@ google.golang.org/grpc/interop/$*

$(BIN)/h2spec: tools/go.mod
	GOWORK=off go -C tools build -o ../$@ github.com/summerwind/h2spec/cmd/h2spec

# h2spec runs the conformance suite of HTTP/2 against the edge and against bare net/http; `make system` does, too.
h2spec: build $(BIN)/h2spec ## run the conformance suite of HTTP/2 against the edge
	go test -tags system -count=1 -timeout 20m -v -run TestH2Spec ./tests/system/

# build makes the static binaries: culvert, and one per service.
build: toolchain ## build the static binaries into bin/
	$(GOBUILD) -o $(BIN)/culvert ./cli/cmd/culvert
	@for s in $(SERVICES); do echo "build $$s"; $(GOBUILD) -o $(BIN)/$$s ./services/$$s/cmd/$$s || exit 1; done

# images packs the binaries of `make build` and a Redis from this machine's packages, for machines without a registry.
images: build ## pack the binaries and a Redis into images, for machines without a registry
	@tests/deps.sh redis-server update-ca-certificates
	deploy/compose/pack.sh

# system runs the suites with real programs and containers: nginx, git, a browser, compose, failures, and
# servers and clients of ssh, SQL, DNS and more through public ports. The tests in network namespaces need root.
system: build $(BIN)/grpc-interop-client $(BIN)/grpc-interop-server $(BIN)/h2spec ## run the suites with real programs and containers (needs root for all of them)
	@tests/deps.sh redis-server nginx git chromium docker-compose dnsmasq dig python3-websockets sshd ssh scp postgres psql \
	  redis-cli iperf3 nc curl ip ping tcpdump setpriv systemd-nspawn
	go test -tags system -count=1 -timeout 40m -v ./tests/system/...

# chaos breaks a deployment of real processes on purpose, in namespaces of its own (docs/failures.md): all scenarios, or those of RUN.
chaos: build ## break real processes on purpose; RUN=name,.. COUNT=20 OUT=file.json; FULL=1 has the whole lengths, QUICK=1 a few scenarios
	@tests/deps.sh redis-server ip nft
	go test -tags chaos -count=1 -timeout 8h -v -run TestScenarios ./tests/chaos/ -chaos.run=$(RUN) -chaos.count=$(or $(COUNT),1) \
	  $(if $(OUT),-chaos.out=$(abspath $(OUT))) $(if $(FULL),-chaos.full) $(if $(QUICK),-chaos.quick)

# dropin compares culvert with stock cloudflared, whose path is in CULVERT_PEER_CLOUDFLARED; without it only ours runs. The plot of
# the series of dashboards is below bin/_artifacts.
dropin: build ## run every behaviour of the stock connector that users rely on; CULVERT_PEER_CLOUDFLARED=/path compares
	@tests/deps.sh redis-server
	go test -tags dropin -count=1 -timeout 30m -v -artifacts -outputdir $(abspath $(BIN)) ./tests/dropin/

# bench measures the connector; PEER=/path/to/connector runs another one interleaved. ARGS adds flags (see tests/bench).
bench: build ## measure the connector; PEER=/path/to/connector measures another one interleaved
	@tests/deps.sh redis-server
	go build -o $(BIN)/bench ./tests/bench
	$(BIN)/bench -bin $(BIN) $(if $(PEER),-peer $(PEER)) -json $(BIN)/bench.json $(ARGS)

# scale measures what the control plane costs where there is much of it (docs/scale.md). ARGS adds flags (see tests/scale).
scale: toolchain ## measure supervisors, workers and a Redis with 1,000 tunnels; FULL=1 measures the steady state for 30 minutes
	@tests/deps.sh redis-server
	go build -o $(BIN)/scale ./tests/scale
	$(BIN)/scale -json $(BIN)/scale.json $(if $(FULL),-steady 30m) $(ARGS)

# fuzz runs every fuzz target for FUZZTIME, FUZZJOBS of them side by side.
FUZZTIME ?= 20s
FUZZJOBS ?= 1
fuzz: toolchain ## run every fuzz target for FUZZTIME each
	@tests/fuzz.sh $(FUZZTIME) $(FUZZJOBS)

clean: ## remove bin/
	rm -rf $(BIN)

toolchain:
	@command -v go >/dev/null || { echo "Go 1.26 is needed (any Go from 1.21 on fetches it by itself); see https://go.dev/dl/"; exit 1; }
	@mkdir -p $(BIN)
