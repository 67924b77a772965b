# prstack: environment and everyday commands. What has to be there before: GNU make, Python 3.11 or 3.12.
#
#   make run                     environment, then the whole pipeline on this machine, then a summary
#   make run ARGS="preset=smoke" the same with other settings (key=value, see `prstack run --help`)
#   make test [SLOW=1] [LONG=1]  environment, then the test suite (SLOW=1 adds what takes minutes, as .ci/run does;
#                                LONG=1 also what .ci/run has no time for); two files at a time, one with WORKERS=0
#   make env                     the environment alone, in $(VENV); nothing to do when the pins did not change
#   make lint                    linter and import rules
#   make clean / distclean       caches and build outputs / also the environment. Runs are never removed.
#   make pins                    resolves pyproject.toml anew into cpu.lock (ARGS=--upgrade takes newer releases)
#
# torch is installed as a CPU build: from the wheels that UV_FIND_LINKS or PIP_FIND_LINKS name when one of them
# is set, else from PyTorch's CPU index.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
SLOW ?=
WORKERS ?= 2
LONG ?=

bin := $(VENV)/bin
stamp := $(VENV)/.installed
# uv takes a list with commas where pip takes one with spaces.
torch_source = links="$${UV_FIND_LINKS:-$$(echo "$${PIP_FIND_LINKS:-}" | tr -s ' ' ',')}"; \
	if [ -n "$$links" ]; then export UV_FIND_LINKS="$$links"; backend=; \
	else unset UV_FIND_LINKS; backend="--torch-backend cpu"; fi

.PHONY: env run test lint clean distclean pins
.DEFAULT_GOAL := env
.DELETE_ON_ERROR:

env: $(stamp)

$(bin)/uv:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: there is no $(PYTHON). Install Python 3.11 or 3.12 (Debian, Ubuntu: apt-get install python3 python3-venv)," \
	       "or name one: make env PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v < (3, 13))' || { \
	  echo "make: prstack needs Python 3.11 or 3.12, but $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	       "Name another one: make env PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  v=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "make: $(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python$$v-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(bin)/python -m pip install -q --disable-pip-version-check -c cpu.lock uv

$(stamp): pyproject.toml cpu.lock cpu-overrides.txt | $(bin)/uv
	@echo "Installing prstack and what it needs into $(VENV): about 4 GB, some two minutes the first time."
	@$(torch_source); $(bin)/uv pip install -q --python $(bin)/python $$backend \
	  --compile-bytecode \
	  --override cpu-overrides.txt -c cpu.lock -e '.[cpu,dev]'
	@touch $@

run: env
	@$(bin)/prstack run $(ARGS)

test: env
	@$(bin)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(if $(LONG),,-m "not $(if $(SLOW),long,slow)") $(ARGS)

lint: env
	@$(bin)/ruff check .
	@$(bin)/lint-imports

pins: | $(bin)/uv
	@$(torch_source); $(bin)/uv pip compile -q --python-version 3.11 --no-header --no-annotate $$backend \
	  --override cpu-overrides.txt --extra cpu --extra dev pyproject.toml -o cpu.lock $(ARGS)

clean:
	@rm -rf dist build .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
	@find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV)
