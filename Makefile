# Two commands are enough: `make train` and `make test`. Both do all the set-up; a second time it is a no-op.
PYTHON ?= python3
CONFIG ?= configs/tiny_chart.yaml
PY := .venv/bin/python

.PHONY: help setup train test check lint bench chaos hostile base experiment serve

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target text; do \
		printf '  make %-11s %s\n' "$$target" "$$text"; done

setup: .venv/.ready  ## .venv with everything, once; all other targets do it first

.venv/.ready: pyproject.toml configs/environment.py configs/torchvision_ops.py configs/system.py
	$(PYTHON) -m configs.system
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check --upgrade pip
	$(PY) -m pip install -q --disable-pip-version-check -e '.[cpu,test]'
	$(PY) -m configs.environment
	touch $@

train: setup  ## learn charts from pictures, end to end; other settings: make train ARGS="run.steps=50"
	$(PY) -m training.train $(CONFIG) $(ARGS)

test: setup  ## all tests, two files at a time, and which took longest; some: make test ARGS="tests/actors -k ledger"
	$(PY) -m pytest -n 2 --no-loadscope-reorder --durations=20 --durations-min=5 $(ARGS)

check: lint  ## style, types, and the tests that start no process
	$(PY) -m pytest -n 2 --quick --durations=5 $(ARGS)

bench: setup  ## what it costs and brings, each measured against something: make bench ARGS=NAME
	$(PY) -m tests.bench $(ARGS)

chaos: setup  ## kill -9 at random moments over every kind of process, and see that the ledger holds
	$(PY) -m tests.chaos $(ARGS)

hostile: setup  ## a scripted policy that attacks renderers, judge and learner in half of its turns
	$(PY) -m tests.hostile $(ARGS)

experiment: setup  ## pictures alone against every other explanation: six arms, three seeds; two hours, goes on where it was stopped
	$(PY) -m training.experiment $(CONFIG) run.steps=60 $(ARGS)

base: setup  ## the shipped base policy anew: an hour and a half of two cores; goes on where it was stopped
	$(PY) -m training.pretrain $(CONFIG) $(ARGS)

serve: setup  ## the newest checkpoint behind HTTP
	$(PY) -m serving.app $(CONFIG) $(ARGS)

lint: setup  ## style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
