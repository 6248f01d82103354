# The two commands are `make run` and `make test`. Both need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NAME ?=
ARGS ?=

# mypy's plugin loads the settings, which refuse to start without these; nothing is reached with them.
TOOLS := SECRET_KEY=only-for-tools-only-for-tools-only-for-tools ACS_KEYRING=t1:MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA= \
	ACS_PUBLIC_URL=http://localhost REDIS_URL=redis://localhost DATABASE_URL=postgresql://localhost/none

.PHONY: run test clean pins bench messages

run: $(VENV)/.runs
	@$(BIN)/python -m acs.demo.run $(if $(ONCE),--once)

test: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(TOOLS) $(BIN)/mypy .
	$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

bench: $(VENV)/.tests
	@test -n "$(NAME)" || { echo "make bench NAME=... : one of $$(cd benchmarks && grep -l '^def main' *.py | sed 's/\.py//' | tr '\n' ' ')" >&2; exit 2; }
	@$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

# Removes a demonstration's data, unless it is running. The environment stays.
clean:
	@$(PYTHON) -m acs.demo.clean

# The texts that people read into the catalogue, for translators, and the catalogue compiled. Needs GNU gettext.
messages: $(VENV)/.tests
	@command -v msgfmt >/dev/null || { echo "make messages needs gettext (Debian: apt install gettext)"; exit 2; }
	@$(TOOLS) $(BIN)/python manage.py makemessages -l zh_Hans --no-location --no-obsolete --no-wrap -i '$(VENV)' -i tests -i benchmarks -i static -i .data -i docker -i clients
	@$(TOOLS) $(BIN)/python manage.py compilemessages -i '$(VENV)' -v 0

# Newest allowed versions into the pinned, hashed files.
pins:
	@command -v uv >/dev/null || { echo "make pins needs uv (pip install uv)"; exit 2; }
	uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-emit-index-url -o requirements.txt requirements.in
	uv pip compile -q --python-version 3.11 --universal --generate-hashes --no-emit-index-url -o requirements-dev.txt requirements-dev.in

$(VENV)/.runs: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv does not work here (Debian: apt install python3-venv)"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip -q
	@echo "Installing what the service runs on ..." >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.tests: requirements-dev.txt $(VENV)/.runs
	@echo "Installing what the tests run on ..." >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
