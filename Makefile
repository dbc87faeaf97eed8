# The verbs of this repository. `make` alone lists them; CI runs `make lint test`.

CARGO ?= cargo
STEP := scripts/step.sh
PERF_BINS := $(patsubst perf/src/bin/%.rs,%,$(wildcard perf/src/bin/*.rs))

.DEFAULT_GOAL := help
.PHONY: help install-deps build demo test bench compare compare-spreading
.PHONY: kill-loop sim mutations damage fuzz schemathesis pictures lint clean
SEEDS ?= 20000
FROM ?= 0

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

install-deps: ## Install what the build needs from the system, or name the exact command
	@scripts/install-deps.sh

build: install-deps ## Build engramd and engram, optimised, into target/release
	@$(STEP) build $(CARGO) build --release --bins -p engramd -p engram-tools

demo: install-deps ## Store, recall, kill in mid-import and recover, on bundled real episodes
	@scripts/demo.sh

test: install-deps ## Run every test of every package
	@scripts/install-deps.sh --browser
	@$(STEP) binaries $(CARGO) build --workspace --bins
	@$(STEP) doc-tests $(CARGO) test --workspace --doc --quiet
	@RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom $(STEP) model \
		$(CARGO) test -p engram-lanes --release --test model
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(STEP) tests $(CARGO) nextest run --workspace; \
	else \
		$(STEP) tests $(CARGO) test --workspace --lib --bins --tests; \
	fi

bench: build ## Run the benchmarks, then the probes and profiles in perf/src/bin
	@$(STEP) benchmarks $(CARGO) bench -p engram-perf
	@for bin in $(PERF_BINS); do \
		$(STEP) $$bin $(CARGO) run --release -p engram-perf --bin $$bin || exit 1; \
	done

compare: ## Race Engram against other engines: make compare DATA=folder (perf/compare/README.md)
	@$(STEP) compare perf/compare/run.sh "$(DATA)" $(ARGS)

compare-spreading: ## Race spreading against solvers of the whole graph: RELATIONS=relations.tsv.gz
	@$(STEP) compare-spreading perf/compare/spreading/run.sh --relations "$(RELATIONS)" $(ARGS)

kill-loop: build ## Kill the daemon under load 200 times and check everything it holds after each
	@$(STEP) kill-loop scripts/kill-loop.sh 200

sim: install-deps ## Run the simulator over SEEDS=20000 seeds, from FROM=0 on
	@SIM_FROM=$(FROM) SIM_SEEDS=$(SEEDS) $(STEP) sim $(CARGO) test --release --test sim

mutations: install-deps ## Break each safety line in turn and check that the simulator notices
	@$(STEP) mutations $(CARGO) test --test sim -- --ignored --nocapture every_broken

damage: install-deps ## Damage every byte of a small store and print what came of it
	@$(STEP) damage $(CARGO) test --release -p engram-shards --test damage -- --ignored --nocapture

fuzz: ## Fuzz a target for a while: make fuzz TARGET=recovery SECONDS=60
	@$(STEP) fuzz scripts/fuzz.sh $(or $(TARGET),recovery) $(or $(SECONDS),60)

schemathesis: ## Ask over HTTP for all that the description allows: make schemathesis SECONDS=120
	@$(STEP) daemon $(CARGO) build -p engramd --bin engramd
	@$(STEP) schemathesis scripts/schemathesis.sh $(or $(SECONDS),120)

pictures: build ## Take the pictures of docs/screenshots, of a daemon under load
	@$(STEP) pictures $(CARGO) test --release --test edge -- --ignored of_a_daemon_under_load

lint: install-deps ## Check the format, clippy without a warning, and the build without hwloc
	@$(STEP) rustfmt $(CARGO) fmt --all --check
	@$(STEP) clippy $(CARGO) clippy --workspace --all-targets -- -D warnings
	@$(STEP) without-hwloc $(CARGO) check -p engramd --no-default-features --all-targets

clean: ## Remove everything that was built
	@$(CARGO) clean
