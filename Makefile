# CityWhistle: one set of commands for people and CI. `make` alone shows them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

PY := .venv/bin/python
CITY ?= devices/cities/helsinki
ARGS ?=
# Tests mostly wait, for servers and for events. A file's tests stay together: they share servers.
WORKERS ?= 3
PROVISIONED := .citywhistle/broker/.provisioned
PAGE := $(wildcard dashboards/page/package.json)
PAGE_SOURCES := $(shell find dashboards/page -name node_modules -prune -o -name dist -prune -o -type f -print 2>/dev/null)

.PHONY: help install demo test check lint format types imports page-types docs bench soak test-tools broker clean

help: ## Show these commands
	@printf 'CityWhistle. First `make install`, then `make demo`.\n\n'
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: .venv/.installed .venv/.native broker $(if $(PAGE),dashboards/page/dist/index.html) $(PROVISIONED) ## Make .venv, broker, page and credentials; quick when there is nothing to do
	@$(if $(filter install,$(MAKECMDGOALS)),echo 'install: ready; `make demo` shows it',:)

.venv/.installed: pyproject.toml
	@deploy/setup/python.sh

# The innermost loops of ingest in C; where there is no compiler those in Python run.
.venv/.native: .venv/.installed twin/ingest/native.c twin/ingest/native.py
	@$(PY) -m twin.ingest.native
	@touch $@

broker:
	@deploy/setup/broker.sh

dashboards/page/dist/index.html: $(PAGE_SOURCES)
	@deploy/setup/page.sh build

# Passwords and access list that mosquitto.conf names; whoever has a password keeps it. Again for another city.
$(PROVISIONED): .venv/.installed $(wildcard $(CITY)/*) $(wildcard twin/broker/*.py)
$(PROVISIONED): $(if $(filter $(CITY),$(shell cat $(PROVISIONED) 2>/dev/null)),,other-city)
	@$(PY) -m twin.broker provision $(CITY)
	@echo $(CITY) > $@

.PHONY: other-city
other-city:

demo: install ## Run a whole city in this terminal (ARGS="--duration 120", STORE=influxdb, BROKER=host:port)
	@.venv/bin/citywhistle demo $(if $(STORE),--store $(STORE)) $(if $(BROKER),--broker $(BROKER)) $(ARGS)

test: install test-tools ## Run the tests (ARGS="-x tests/twin")
	@$(PY) -m pytest -m "not soak" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: install lint format types imports page-types docs ## Lint, formatting, types, floors, page, docs

lint:
	@.venv/bin/ruff check .

format:
	@.venv/bin/ruff format --check .

types:
	@.venv/bin/mypy

imports:
	@.venv/bin/lint-imports

page-types:
	@deploy/setup/page.sh check

docs:
	@$(PY) -m pytest tests/docs

bench: install ## Run a benchmark (NAME=ingest; without NAME: the list)
	@$(if $(NAME),$(PY) -m bench.$(NAME) $(ARGS),printf 'make bench NAME=%s\n' $(filter-out __init__ report air crowd livecity families faults measures rivals,$(basename $(notdir $(wildcard bench/*.py)))))

soak: install test-tools ## Run the long tests: hours of load, 200 crashes
	@$(PY) -m pytest -m soak --timeout=0 $(ARGS)

test-tools:
	@deploy/setup/tests.sh
	@deploy/setup/newer_broker.sh

clean: ## Remove caches and build results (.venv and your data in .citywhistle stay)
	rm -rf .cache/stamps .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build dashboards/page/dist
	find . -name __pycache__ -not -path './.venv/*' -not -path '*/node_modules/*' -prune -exec rm -rf {} +
