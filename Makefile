# Two commands do it all on a fresh machine: `make demo` and `make test`. Each sets up what it needs.
#
#   make demo            power cut in an embedded cloud, seen live       (KEEP=1 leaves it running)
#   make test            lint, unit, simulation and integration tests    (installs Debian packages if root)
#   make molecule        the playbooks on real systemd hosts and real kernel modules (root; SCENARIOS='a b' for some)
#   make lab             a real OpenStack on this machine, with HASS on it (root; in work, see molecule/lab/README.md)
#   make drill           break it on purpose, and write docs/drills  (DRILLS='a b' for some)
#   make lab-down        take it away
#   make kill-everywhere the controller killed at every line of its journal, as a real process
#   make mutations       each safety rule broken on purpose: the simulator has to see it
#   make lint bench docs venv clean
#
# Slow set-up (the environment of the embedded Nova and Keystone) is kept in HASS_CACHE_DIR, by default
# ~/.cache/hass; it may be deleted at any time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REPORT ?= hass-report.html
KEEP ?=
SCENARIOS ?=
DRILLS ?=

.PHONY: demo test lint unit simulation integration kill-everywhere molecule lab drill lab-down mutations bench docs venv dev clean

venv: $(VENV)/.ready-tools $(VENV)/.ready-openstack
dev: $(VENV)/.ready-dev

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; say which with: make PYTHON=python3.x ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing HASS into $(VENV) (once)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[sandbox]'
	@touch $@

$(VENV)/.ready-tools: $(VENV)/.ready
	@echo "Installing Ansible's collections and the test tools into $(VENV) (once)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# openstack.cloud as Ansible 12 brings it does not take the openstacksdk that HASS has: the playbooks give its modules
# this one.
$(VENV)/.ready-openstack: $(VENV)/.ready
	@echo "Installing openstacksdk for the modules of openstack.cloud into $(VENV)/openstack (once)"
	@$(BIN)/python -m venv $(VENV)/openstack
	@$(VENV)/openstack/bin/python -m pip install -qq --disable-pip-version-check openstacksdk==4.14.0
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready-tools $(VENV)/.ready-openstack
	@tests/system-packages
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev,agent]'
	@touch $@

demo: $(VENV)/.ready
	@$(BIN)/hass sandbox demo $(if $(KEEP),--keep) --report $(REPORT)

test: lint unit simulation integration

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --strict

unit: dev
	$(BIN)/python -m pytest tests/unit -q -n 2

# Golden scenarios, a few thousand random schedules, and a HASS that is broken on purpose.
simulation: dev
	$(BIN)/python -m pytest tests/simulation -q -n 2

integration: dev
	$(BIN)/python -m pytest tests/integration -v

# The controller killed by SIGKILL at every journal boundary of an incident: half an hour on two cores.
# `make integration` tries every ninth.
kill-everywhere: dev
	HASS_KILL_STRIDE=1 HASS_KILL_CLUSTERS=2 $(BIN)/python -m pytest tests/integration/test_kill_everywhere.py -v

# Machines by systemd-nspawn and QEMU, see molecule/README.md.
molecule: dev
	$(BIN)/python -m pytest tests/machines -q
	@$(BIN)/python molecule/run $(SCENARIOS)

lab: dev
	@$(BIN)/python molecule/lab/lab up

drill: dev
	@$(BIN)/python molecule/lab/lab drill $(DRILLS)

lab-down: dev
	@$(BIN)/python molecule/lab/lab down

mutations: dev
	$(BIN)/python tests/simulation/mutate.py --jobs 2

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/decisions.py
	$(BIN)/python benchmarks/readiness.py
	$(BIN)/python benchmarks/simulation.py
	$(BIN)/python benchmarks/recovery.py

# The pages that are made from the code; a test fails while they are not what the code says.
docs: $(VENV)/.ready
	$(BIN)/hass policy docs --write .
	$(BIN)/python docs/guide_coverage.py
	$(BIN)/python docs/inventory_example.py
	$(BIN)/python docs/plan_page.py
	$(BIN)/python docs/explain_page.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible build dist *.egg-info hass-report*.html
	find . -name __pycache__ -prune -exec rm -rf {} +
