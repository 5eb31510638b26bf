# Hearth. 'make help' lists the targets. Everything that is fetched or compiled
# natively lies in the cache ($XDG_CACHE_HOME/hearth); build/out holds what was
# built for this checkout.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL:

FETCH := go run ./third_party/fetch
TOOL := go tool -modfile=third_party/tools/go.mod
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# How long make test tries each fuzz target, and those that read what peers of tools send;
# make fuzz FUZZTIME=10m digs deeper. ONLY is a pattern of "package Target".
FUZZTIME ?= 3s
FUZZTIME_PEERS ?= $(if $(filter file,$(origin FUZZTIME)),20s,$(FUZZTIME))
ONLY ?=
# How many requests, files and prompts make test-hostile, test-mutations and test-exact try.
HOSTILE ?= 50000
MUTATIONS ?= 5000
PROMPTS ?= 200
# What the examples ask instead of their own questions.
export QUESTION ?=
# More arguments for hearth serve (make run) and for the benchmarks (make bench).
ARGS ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: prerequisites native model hearth ## compile all into build/out, fetching what is missing (the default)

.PHONY: run
run: build ## set up everything and serve the default model on 127.0.0.1:8080
	@exec build/out/bin/hearth serve --model "$$($(FETCH) model)" $(ARGS)

.PHONY: test
test: prerequisites-install build yardsticks embedding-model window-model rank-model tool-model venv searxng llamaindex npm chroma lint test-go test-python fuzz ## set up everything and run every test
	@build/skipped.sh

.PHONY: test-go
test-go: ## the Go tests, with the race detector (after make build yardsticks embedding-model window-model rank-model tool-model)
	@mkdir -p build/out/test
	@echo "== go test -race"
	@go test -race -timeout 25m -json ./... | go run ./internal/testreport -skipped build/out/test/skipped-go

.PHONY: test-python
test-python: ## the tests with the official Python clients (after make build yardsticks embedding-model rank-model)
	@mkdir -p build/out/test
	@echo "== pytest"
	@"$$($(FETCH) venv)" -m pytest -rs tests | tee build/out/test/pytest.log

.PHONY: test-gpu
test-gpu: build cuda ## smoke tests, on a host with an NVIDIA GPU
	@go test -tags gpu -count=1 -json -run '^TestGPU' ./... | go run ./internal/testreport

.PHONY: conformance
conformance: npm ## the MCP server, and the client of MCP servers, against the official conformance suite, three times in a row
	go test -race -count=3 -v -run TestSuite ./mcpserver/conformance
	go test -race -count=3 -v -run TestConformance ./mcpserver/connector/upstream

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (ONLY=mcpserver/router for some)
	@build/fuzz.sh $(FUZZTIME) $(FUZZTIME_PEERS) '$(ONLY)'

.PHONY: test-hostile
test-hostile: build embedding-model rank-model ## 50,000 generated hostile requests against a running server (HOSTILE=1000 for fewer)
	@HEARTH_HOSTILE=$(HOSTILE) go test -count=1 -timeout 3h -v -run '^TestHostileRequests$$' ./tests

.PHONY: test-mutations
test-mutations: build ## 5,000 mutated model files, and as many adapters, through the trial load (MUTATIONS=100 for fewer)
	@HEARTH_MUTATIONS=$(MUTATIONS) go test -count=1 -timeout 3h -v -run '^TestMutated(Models|Adapters)$$' ./cmd/hearth

.PHONY: test-exact
test-exact: build yardsticks window-model tool-model ## greedy answers of each kind of model to 200 prompts, with every optimization and one token at a time (PROMPTS=50 for fewer; fetches 490 MB)
	@HEARTH_PROMPTS=$(PROMPTS) go test -count=1 -timeout 3h -v -run '^(TestWhatIsFastIsExact|TestForcedTextIsExact)$$' ./inference/llama

.PHONY: test-asan
test-asan: build yardsticks embedding-model window-model rank-model ## the tests that call C, with address and undefined-behaviour sanitizers (an hour)
	@$(FETCH) sanitized
	@build/asan.sh $(ARGS)

.PHONY: test-mysql
test-mysql: ## the connector sqldb against MySQL itself, from Debian's unstable suite (make test has MariaDB; fetches 65 MB)
	@HEARTH_TEST_MYSQL="$$($(FETCH) mysql)" go test -race -tags mysql -count=1 -v -run '^TestMySQL$$' ./mcpserver/connector/sqldb

.PHONY: lint
lint: ## go vet, staticcheck, gofumpt
	@echo "== lint"
	@go vet ./...
	@go vet -tags gpu ./tests
	@go vet -tags mysql ./mcpserver/connector/sqldb
	@$(TOOL) staticcheck ./...
	@unformatted="$$($(TOOL) gofumpt -l .)"; if [ -n "$$unformatted" ]; then \
		echo "gofumpt would change these files (make format does):"; echo "$$unformatted"; exit 1; fi

.PHONY: format
format: ## rewrite the Go files as gofumpt wants them
	$(TOOL) gofumpt -w .

.PHONY: bench
bench: build yardsticks embedding-model ## measure Hearth beside llama-server: tables, JSON, samples, plots
	go run ./internal/benchsuite $(ARGS)

.PHONY: bench-%
bench-%: build yardsticks embedding-model ## one scenario of make bench
	go run ./internal/benchsuite -only $* $(ARGS)

.PHONY: bench-calls
bench-calls: build ## calls of a tool over MCP beside a bare server of mcp-go: latency, throughput, durable records (two minutes)
	go run ./internal/benchsuite -only calls -out build/out/bench/calls $(ARGS)

.PHONY: bench-models
bench-models: build yardsticks ## the table of make bench for gemma-3-270m and Qwen2.5-Coder-0.5B: no row below llama-server (one round: hours; fetches 700 MB)
	go run ./internal/benchsuite -floor 1 -rounds 1 -model "$$($(FETCH) window-model)" -out build/out/bench/gemma-3-270m $(ARGS)
	go run ./internal/benchsuite -floor 1 -rounds 1 -model "$$($(FETCH) tool-model)" -out build/out/bench/qwen2.5-coder-0.5b $(ARGS)

.PHONY: bench-step
bench-step: ## the engine's own side of a step, on a model that costs nothing, with few and with many prefixes (a quiet minute)
	@HEARTH_STEP_RUNS=25 go test -count=1 -v -run '^TestStepCost$$' ./inference/engine

.PHONY: bench-growth
bench-growth: build yardsticks ## how cost grows: clients, cached cells, context; tables, JSON, samples, plots
	go run ./internal/benchsuite -growth 64 -rounds 3 -out build/out/bench/growth $(ARGS)

.PHONY: eval-tools
eval-tools: build yardsticks ## count right tool calls of a real model, beside llama-server (fetches 490 MB)
	@go run ./internal/evaltools -model "$$($(FETCH) tool-model)" $(ARGS)

.PHONY: eval-forced
eval-forced: build ## right values with forced text drawn and appended, two real models (fetches 490 MB; ARGS="-prompts 30" for fewer)
	@go run ./internal/evalforced $(ARGS) "$$($(FETCH) model)" "$$($(FETCH) tool-model)"

.PHONY: eval-agent
eval-agent: build yardsticks prerequisites-install ## right answers and valid calls of a small model with real tools, beside a plain client of llama-server (fetches 490 MB; ARGS="-seeds 3" for three)
	@go run ./internal/evalagent -model "$$($(FETCH) tool-model)" $(ARGS)

.PHONY: example-database example-web example-assistant
example-database: build prerequisites-install ## ask a PostgreSQL database that was made for this run (QUESTION="…" asks something else; the examples fetch a model, 490 MB)
	@go run ./examples/database -model "$$($(FETCH) tool-model)" -question "$$QUESTION" $(ARGS)
example-web: build ## ask what stands on the pages of a small web site
	@go run ./examples/web -model "$$($(FETCH) tool-model)" -question "$$QUESTION" $(ARGS)
example-assistant: build ## ask a model that uses three MCP servers of other projects: a folder, a memory, a clock
	@npm=$$($(FETCH) npm) && go run ./examples/assistant -model "$$($(FETCH) tool-model)" -node "$$npm/bin/node" -modules "$$npm/node_modules" -python "$$($(FETCH) venv)" -question "$$QUESTION" $(ARGS)

.PHONY: soak-streams
soak-streams: build ## 256 streams for ten minutes: memory, longest waits, processor time (a quiet machine; ARGS="-for 3m" for less)
	@go run ./internal/soak $(ARGS) "$$($(FETCH) model)"

.PHONY: soak-upstreams
soak-upstreams: build ## 50 MCP servers, 25 of them bad, for ten minutes: what it costs the good ones, and whether anything is left (a quiet machine; ARGS="-for 4m" for less)
	@go run ./internal/soak upstreams $(ARGS) "$$($(FETCH) model)"

.PHONY: soak
soak: soak-upstreams soak-streams ## both, twenty minutes

.PHONY: cuda
cuda: prerequisites ## compile the CUDA backend into build/out/lib (CUDA_ARCHS=89 for one architecture)
	@$(FETCH) cuda

.PHONY: release-libs
release-libs: prerequisites ## compile the CPU backend for every x86-64 processor, not this one alone
	@$(FETCH) native --all-variants

.PHONY: hearth
hearth:
	@go build -trimpath -tags release -ldflags "-X main.version=$(VERSION)" -o build/out/bin/hearth ./cmd/hearth

.PHONY: native model embedding-model window-model rank-model tool-model yardsticks venv searxng llamaindex npm chroma prerequisites
native model embedding-model window-model rank-model tool-model yardsticks venv searxng llamaindex npm chroma prerequisites:
	@$(FETCH) $@ >/dev/null

.PHONY: prerequisites-install
prerequisites-install:
	@$(FETCH) prerequisites --install

.PHONY: clean
clean: ## remove build/out; the cache stays
	rm -rf build/out
