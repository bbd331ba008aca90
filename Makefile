# mcpraft: `make help` lists every target. `make check` is exactly what CI runs.
#
# Only Go is needed for everything but the targets that say otherwise; check needs
# npm, too, for the official clients and the conformance suite. Tools are built from
# tools.mod (and lint.mod), pinned there.

GO      ?= go
BIN     := bin/mcpraft
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

# Packages whose tests start processes or measure have targets of their own.
SLOW    := /test/e2e|/test/s3$$|/test/sim$$
UNIT    := $$($(GO) list ./... | grep -Ev '$(SLOW)')
# Packages with goroutines of their own.
RACE    := ./internal/... ./raftnode/... ./server/... ./snapshot/... ./test/model/...

.DEFAULT_GOAL := help
.PHONY: help
help: ## print this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the one binary into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/mcpraft

.PHONY: run
run: build ## build, start a three-node cluster on loopback and say what to do next
	$(BIN) dev --nodes 3

.PHONY: test
test: ## unit and property tests: Go only, a fresh machine can run it
	$(GO) test $(UNIT)

.PHONY: check
check: format vet staticcheck test race sim-short e2e conformance jepsen-smoke ## everything CI runs

.PHONY: format
format: ## gofumpt and go fix are clean
	@unformatted=$$($(GO) tool -modfile=tools.mod gofumpt -l .); \
	  test -z "$$unformatted" || { echo "not gofumpt-formatted:"; echo "$$unformatted"; exit 1; }
	@fixes=$$($(GO) fix -diff ./... 2>&1); test -z "$$fixes" || { echo "$$fixes"; exit 1; }

.PHONY: vet
vet: ## go vet, also with the failpoints built in
	$(GO) vet ./...
	$(GO) vet -tags failpoint ./internal/failpoint/ ./snapshot/

.PHONY: staticcheck
staticcheck: ## staticcheck over everything
	$(GO) tool -modfile=tools.mod staticcheck ./...

.PHONY: lint
lint: ## golangci-lint, which takes eleven minutes to build the first time
	$(GO) tool -modfile=lint.mod golangci-lint run ./...

.PHONY: race
race: ## the packages with goroutines, under the race detector
	$(GO) test -race $(RACE)

.PHONY: sim
sim: ## whole clusters in virtual time: SEEDS=2000 rounds, one process each
	SIM_SEEDS=$(or $(SEEDS),2000) $(GO) test -count=1 -timeout 2h ./test/sim

.PHONY: sim-short
sim-short: ## the simulation as CI runs it
	SIM_SEEDS=$(or $(SEEDS),200) $(GO) test -count=1 -timeout 20m ./test/sim

# Tests of test/e2e that need what `make peers` installs.
WITH_PEERS := Conformance|Clients|SDKClient|Official|Readme

.PHONY: e2e
e2e: ## real processes on loopback, killed for real
	$(GO) test -count=1 -timeout 15m -skip '$(WITH_PEERS)' ./test/e2e

.PHONY: peers
peers: test/peers/node_modules/.package-lock.json test/peers/bin/everything-server ## install what the tests run against: official clients, servers, the conformance suite; needs npm

test/peers/node_modules/.package-lock.json: test/peers/package-lock.json
	@command -v npm >/dev/null || { echo "make peers needs npm: install Node.js 20 or newer"; exit 1; }
	npm --prefix test/peers ci --no-audit --no-fund --loglevel=error
	@touch $@

test/peers/bin/everything-server: peers.mod peers.sum
	$(GO) build -modfile=peers.mod -o $@ github.com/modelcontextprotocol/go-sdk/conformance/everything-server
	@touch $@

.PHONY: conformance
conformance: peers ## the official MCP conformance suite, clients and servers through three nodes, also with kills; needs npm
	$(GO) test -count=1 -timeout 20m -run '$(WITH_PEERS)' ./test/e2e

# Root gets the network of packets and disks that can be full, anybody else proxies.
JEPSEN := $(GO) run ./jepsen/cmd/jepsen

.PHONY: jepsen
jepsen: ## real processes taken apart for TIME=10m, into jepsen/results; with root it can do more, with strace too
	$(JEPSEN) run --time $(or $(TIME),10m) --pairs $(if $(filter 0,$(shell id -u)),--disk 268435456 --shift-clocks)

.PHONY: jepsen-night
jepsen-night: ## the same for hours, three nodes and five
	$(MAKE) jepsen TIME=$(or $(TIME),4h)
	$(JEPSEN) run --time $(or $(TIME),4h) --pairs --nodes 5 --clients 15 $(if $(filter 0,$(shell id -u)),--disk 268435456 --shift-clocks)

.PHONY: jepsen-smoke
jepsen-smoke: ## the same for 20 s, without privileges
	rm -rf bin/jepsen-smoke
	$(JEPSEN) run --network proxies --time 20s --hold 3s --quiet 2s --out bin/jepsen-smoke --faults kill-leader,isolate-leader-one-way,split,upstream-garbage,transfer

.PHONY: s3
s3: ## object storage against a real S3 server, which is built from s3.mod the first time
	$(GO) test -count=1 -timeout 15m ./test/s3

.PHONY: pitr-proof
pitr-proof: ## restore random histories to a thousand random points and compare each with what the cluster was then
	PITR_POINTS=$(or $(POINTS),1000) $(GO) test -count=1 -timeout 1h -run TestAnyPointIsRestoredAsItWas ./snapshot/recovery

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME=60s each
	test/fuzz.sh $(or $(FUZZTIME),60s)

.PHONY: bench-core
bench-core: build ## the replicated core against etcd 3.7.3, one JSON line each
	cd test/bench && $(GO) build -o ../../bin/bench .
	bin/bench core

.PHONY: bench-front
bench-front: build ## the MCP front against nginx and ToolHive vMCP, one JSON line each; leaves out who is not installed
	cd test/bench && $(GO) build -o ../../bin/bench .
	bin/bench front

.PHONY: golden
golden: ## rewrite golden files; read the diff before you commit it
	$(GO) test ./fsm ./cmd/mcpraft/config ./raftnode/logstore ./internal/seal ./wal ./snapshot -rewrite
	$(GO) test ./fsm/record -rewrite

.PHONY: tools
tools: ## install what a target needs and Go does not bring: strace for the disk faults of jepsen; needs apt and root
	@command -v strace >/dev/null && exit 0; test "$$(id -u)" = 0 || { echo "make tools needs root"; exit 1; }; \
	  command -v apt-get >/dev/null || { echo "make tools needs apt: install strace"; exit 1; }; apt-get install -y strace

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
