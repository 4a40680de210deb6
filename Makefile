# make test     everything that must pass: sets up what is missing, unit and contract tests with -race,
#               then the real binary against real programs
# make lint     gofumpt, go vet, staticcheck; prints what differs and fails
# make cross    compiles for the other systems
# make build    ./bin/postern
# make fuzz     every fuzz target, FUZZTIME each (make test runs their seeds)
# make soak     the long forms of conformance and fault: 500 MB, 1 GB, and the binary with -race
# make bench    Postern beside other tunnels, on a machine that has nothing else to do; ARGS='-help' lists what it takes
# make bench-page RESULT=bin/bench/FILE.json    docs/performance.md and its charts, from a result of make bench

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory

GO       ?= go
FUZZTIME ?= 60s
CLI       = github.com/postern-dev/postern/cli
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT   ?= $(shell git rev-parse HEAD 2>/dev/null)
DATE     ?= $(shell git log -1 --format=%cI 2>/dev/null)
LDFLAGS   = -s -w -X $(CLI).linkedVersion=$(VERSION) -X $(CLI).linkedCommit=$(COMMIT) -X $(CLI).linkedDate=$(DATE)

BIN       := $(CURDIR)/bin
BINARY    := $(BIN)/postern
BLACKBOX  := ./test/conformance
FAULT     := ./test/fault ./test/fault/link ./test/bench
SYSTEMS   := linux/arm64 linux/arm linux/386 darwin/amd64 darwin/arm64 windows/amd64

.PHONY: all build setup test test-unit test-blackbox lint cross fuzz soak bench bench-page clean

# The link emulator of test/fault and test/bench makes network namespaces, which takes root. Test binaries are built by whoever calls; sudo runs them.
TESTED    = $(BINARY)
NOT_ROOT := $(filter-out 0,$(shell id -u))
AS_ROOT   = $(if $(NOT_ROOT),$(if $(shell command -v sudo),-exec 'sudo env PATH=$(PATH) POSTERN_BINARY=$(TESTED) POSTERN_TEST_FULL=$(POSTERN_TEST_FULL)'))

all: build

# Static, so that one file runs on any distribution; -trimpath, so that it tells nothing of the machine that built it.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BINARY) ./cmd/postern

setup:
	@./test/setup/install.sh

test: setup build test-unit test-blackbox

# Everything but the black-box suites, which start processes and want the machine for themselves.
test-unit:
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v -E '/test/(conformance|fault|fault/link|bench)$$')

test-blackbox: setup build
	POSTERN_BINARY=$(TESTED) $(GO) test -count=1 -p 1 -timeout 12m $(BLACKBOX)
	POSTERN_BINARY=$(TESTED) $(GO) test $(AS_ROOT) -count=1 -p 1 -timeout 12m $(FAULT)

lint:
	@mkdir -p $(BIN)
	$(GO) build -C tools -o $(BIN)/ mvdan.cc/gofumpt honnef.co/go/tools/cmd/staticcheck
	@differs=$$($(BIN)/gofumpt -l .); if [ -n "$$differs" ]; then \
		$(BIN)/gofumpt -d $$differs; \
		echo "gofumpt: these files differ from its form (bin/gofumpt -w FILE mends them):"; echo "$$differs"; exit 1; fi
	$(GO) vet ./...
	$(BIN)/staticcheck ./...

cross:
	@for system in $(SYSTEMS); do echo "compiling for $$system"; \
		CGO_ENABLED=0 GOOS=$${system%/*} GOARCH=$${system#*/} $(GO) build -buildvcs=false ./...; done

# go test fuzzes one target at a time.
fuzz:
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; done; done

soak: TESTED = $(BIN)/postern-race
soak: POSTERN_TEST_FULL = 1
soak: setup
	$(GO) build -race -buildvcs=false -o $(TESTED) ./cmd/postern
	POSTERN_TEST_FULL=1 POSTERN_BINARY=$(TESTED) $(GO) test -count=1 -p 1 -v -timeout 60m $(BLACKBOX)
	POSTERN_TEST_FULL=1 POSTERN_BINARY=$(TESTED) $(GO) test $(AS_ROOT) -count=1 -p 1 -v -timeout 60m $(FAULT)

# Over links (ARGS=-wan) it takes root as well.
bench: build
	@./test/setup/install.sh bench
	$(GO) build -buildvcs=false -o $(BIN)/postern-bench ./test/bench
	$(if $(findstring -wan,$(ARGS)),$(if $(NOT_ROOT),sudo)) $(BIN)/postern-bench -postern $(BINARY) -out $(BIN)/bench $(ARGS)

bench-page:
	@test -n "$(RESULT)" || { echo "which result? make bench-page RESULT=bin/bench/FILE.json"; exit 2; }
	$(GO) run -buildvcs=false ./test/bench -page $(RESULT)

clean:
	rm -rf $(BIN)
