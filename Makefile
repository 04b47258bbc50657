# Two commands are enough: `make train` and `make test`. Both do all the set-up; a second time it is a no-op.
PYTHON ?= python3
CONFIG ?= configs/tiny_chart.yaml
PY := .venv/bin/python

.PHONY: setup train test bench chaos hostile experiment serve lint

setup: .venv/.ready

.venv/.ready: pyproject.toml configs/environment.py configs/torchvision_ops.py
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check --upgrade pip
	$(PY) -m pip install -q --disable-pip-version-check -e '.[cpu,test]'
	$(PY) -m configs.environment
	touch $@

train: setup  ## the project's main job, end to end; more settings: make train ARGS="run.steps=50"
	$(PY) -m training.train $(CONFIG) $(ARGS)

test: setup  ## two at a time: most of a test is waiting for processes to start
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

bench: setup
	$(PY) -m tests.bench $(ARGS)

chaos: setup  ## kill -9 at random moments over every kind of process, and see that the books hold
	$(PY) -m tests.chaos $(ARGS)

hostile: setup  ## a scripted policy that attacks renderers, judge and learner in half of its turns
	$(PY) -m tests.hostile $(ARGS)

experiment: setup  ## base, labels, pictures alone, three seeds: about an hour on two free cores; goes on where it was stopped
	$(PY) -m training.experiment $(CONFIG) run.steps=60 $(ARGS)

serve: setup  ## the newest checkpoint behind HTTP
	$(PY) -m serving.app $(CONFIG) $(ARGS)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
