SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One target folder outside the checkout: RocksDB is compiled once, not once for each clone.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/navarch
export CARGO_TARGET_DIR := $(or $(NAVARCH_TARGET_DIR),$(CACHE)/target)
export NAVARCH_BIN := $(CARGO_TARGET_DIR)/debug/navarch
export NAVARCH_KUBECTL := $(CACHE)/kubectl

# Tests against real processes: one cluster at a time.
E2E := agent_kills applying chaos cli commands etcdctl hollow_nodes kube_rs nodes offline pod_life proxy python quotas registries roles security services store streams tokens top volumes workloads

.PHONY: soak sim sim-soak sim-ci sim-bugs help up down test check fix e2e chaos chaos-ci chaos-bugs calibrate power-loss bench bench-agent bench-api bench-nodes bench-store bin ci setup kubectl kube-rs loc

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

up: setup ## build, then run a cluster in .navarch: 3 control nodes, 2 agents; Ctrl-C stops it
	@cargo build --workspace
	@exec $(NAVARCH_BIN) up --dir .navarch

down: ## stop and clean the cluster in .navarch, also after a crash
	@$(NAVARCH_BIN) down --dir .navarch

# What pods do, once more on the runtime that needs nothing installed.
E2E_PODS := agent_kills offline pod_life registries streams volumes

# The same commit comes to the same verdict: property tests throw the same dice each time, other ones in `soak`.
test ci: export PROPTEST_RNG_SEED := 1

test: setup kubectl kube-rs ## everything that this machine can test, real containers included
	@cargo build --workspace --all-targets
	@cargo test --workspace --lib --bins
	@cargo test --workspace --test '*' -- --test-threads=1
	@NAVARCH_RUNTIME=builtin cargo test --workspace $(addprefix --test ,$(E2E_PODS)) -- --test-threads=1

e2e: setup kubectl kube-rs ## only the tests against real processes
	@cargo build --workspace --all-targets
	@cargo test --workspace $(addprefix --test ,$(E2E)) -- --test-threads=1
	@NAVARCH_RUNTIME=builtin cargo test --workspace $(addprefix --test ,$(E2E_PODS)) -- --test-threads=1

soak: setup ## all unit tests RUNS (10) times, property tests with other dice each time, up to the first that fails
	@for run in $$(seq $(or $(RUNS),10)); do cargo test --workspace --lib || exit 1; done

check: setup ## format, lints, the rules of the house; writes nothing
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings
	@cargo test --workspace --test tidy --test closure

fix: ## what check can mend by itself
	@cargo fmt --all
	@cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

bin: setup ## build the binary and print its path
	@cargo build --workspace >&2
	@echo $(NAVARCH_BIN)

# RocksDB is compiled once: a release build links the one of the dev profile (-O2 without assertions in both).
RELEASE = cargo build --workspace && \
	ROCKSDB_STATIC=1 ROCKSDB_LIB_DIR="$$(dirname "$$(ls -t $(CARGO_TARGET_DIR)/debug/build/librocksdb-sys-*/out/librocksdb.a | head -1)")" \
	cargo build --workspace --release

chaos: setup ## break a cluster on purpose and judge it: SCENARIO=S-01 SEED=any TIME=seconds
	@cargo build --workspace
	@exec $(NAVARCH_BIN) chaos run $(or $(SCENARIO),S-01) $(if $(SEED),--seed $(SEED)) $(if $(TIME),--time $(TIME)) --runs .navarch/runs

# Which bugs have their turn: those of this commit, so that the same commit comes to the same again.
TURN ?= $(shell git rev-parse HEAD 2>/dev/null || date +%F)

# What CI runs is built as the tests were: without their targets, cargo unites fewer features and builds kinds again.
chaos-ci: setup ## what every change has to pass: eight scenarios, shortened, and three bugs on purpose that must be caught
	@cargo build --workspace --all-targets
	@$(NAVARCH_BIN) chaos gate --turn $(TURN) --runs .navarch/runs

chaos-bugs: setup ## every bug on purpose must be caught: BUGS="ack-before-sync …" only these, ARGS="--times 5" how often
	@cargo build --workspace
	@$(NAVARCH_BIN) chaos bugs --prove --runs .navarch/runs $(ARGS) $(BUGS)

calibrate: setup ## what is known to be wrong with Debian's etcd 3.4.23 must be found, and nothing else
	@.ci/setup etcd
	@cargo build --workspace
	@$(NAVARCH_BIN) chaos calibrate --runs .navarch/runs

sim: setup ## replay a simulation: SEED (1) says which, ARGS="--log info --keep" more
	@cargo build --workspace
	@$(CARGO_TARGET_DIR)/debug/sim --seed $(or $(SEED),1) --out $(CARGO_TARGET_DIR)/sim $(ARGS)

sim-soak: setup ## simulate SEEDS (10000) seeds from SEED (1) on, up to the first that fails
	@cargo build --workspace
	@$(CARGO_TARGET_DIR)/debug/sim --soak $(or $(SEEDS),10000) --seed $(or $(SEED),1) --out $(CARGO_TARGET_DIR)/sim $(ARGS)

# Always the same seeds, so that a change is judged by nothing but itself; `sim-soak` looks for new ones.
sim-ci: setup ## simulate 200 seeds from SEED (1) on
	@cargo build --workspace --all-targets
	@$(CARGO_TARGET_DIR)/debug/sim --soak 200 --failures 20 --seed $(or $(SEED),1) --out $(CARGO_TARGET_DIR)/sim

sim-bugs: setup ## plant each bug on purpose, and see that one of 40 seeds finds it
	@cargo build --workspace
	@$(CARGO_TARGET_DIR)/debug/sim --prove 40 --out $(CARGO_TARGET_DIR)/sim $(ARGS)

power-loss: setup ## cut the power of a writing node CUTS times (500), and look for lost writes
	@NAVARCH_CUTS=$(or $(CUTS),500) cargo test --workspace --lib -- power_loss --nocapture

bench: setup kubectl ## pod start, failover and memory, with the release profile
	@$(RELEASE)
	@NAVARCH_BIN=$(CARGO_TARGET_DIR)/release/navarch $(CARGO_TARGET_DIR)/release/bench

bench-store: setup ## the store beside Debian's etcd; ARGS="--seconds 2 --rounds 1 load" for a short look
	@.ci/setup etcd
	@$(RELEASE) --bin bench_store
	@$(CARGO_TARGET_DIR)/release/bench_store $(ARGS)

bench-api: setup ## the Kubernetes API of three servers; ARGS="--kubeconfig FILE" for any other server
	@$(RELEASE) --bin navarch --bin bench_api
	@NAVARCH_BIN=$(CARGO_TARGET_DIR)/release/navarch $(CARGO_TARGET_DIR)/release/bench_api $(ARGS)

bench-agent: setup ## how soon pods run with each runtime, and what an agent uses, with the release profile
	@$(RELEASE) --bin navarch --bin bench_agent
	@for runtime in containerd builtin; do \
		NAVARCH_BIN=$(CARGO_TARGET_DIR)/release/navarch $(CARGO_TARGET_DIR)/release/bench_agent $$runtime; \
	done

bench-nodes: setup kubectl ## what NODES (5000) hollow nodes cost three servers, with the release profile
	@$(RELEASE) --bin navarch --bin bench_nodes
	@NAVARCH_BIN=$(CARGO_TARGET_DIR)/release/navarch $(CARGO_TARGET_DIR)/release/bench_nodes $(or $(NODES),5000)

ci: check test chaos-ci sim-ci ## what .ci/run runs

loc: ## lines of Rust in each room
	@for room in proto store control/kinds control/apiserver control/client control/controllers control/scheduler control/src agent chaos tests; do \
		printf '%-22s %6d\n' $$room $$(find $$room -name '*.rs' -print0 | xargs -0 cat | wc -l); \
	done

setup:
	@.ci/setup

# A workspace of its own, so that nothing of what kube-rs needs changes how Navarch is built.
kube-rs: setup
	@cargo build --locked --manifest-path tests/kube_rs/Cargo.toml --target-dir $(CARGO_TARGET_DIR)/kube-rs

kubectl:
	@.ci/kubectl $(NAVARCH_KUBECTL)
