# `make` prints the targets. Everything runs in .venv, which is built from requirements.lock; a machine that only
# predicts needs only .venv-predict.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
CDE := $(BIN)/cde
INSTALLED := $(VENV)/.installed
PREDICT_VENV := .venv-predict
PREDICT_INSTALLED := $(PREDICT_VENV)/.installed
DOCS_INSTALLED := $(VENV)/.installed-docs

# The first Python that is 3.11 or 3.12, for prediction also 3.13; `make PYTHON=...` names another.
FITS := import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PREDICT_FITS := import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(firstword $(foreach python,python3.11 python3.12 python3,$(shell $(python) -c '$(FITS)' </dev/null >/dev/null 2>&1 && echo $(python))))
PREDICT_PYTHON ?= $(or $(PYTHON),$(firstword $(foreach python,python3.13 python3,$(shell $(python) -c '$(PREDICT_FITS)' </dev/null >/dev/null 2>&1 && echo $(python)))))

WORKERS ?= 2
CONFIGS := $(wildcard configs/*.yaml)
CODE := $(shell find cde_app -name '*.py')
RUNS := $(CONFIGS:configs/%.yaml=runs/%/manifest.json)
RULES := $(CONFIGS:configs/%.yaml=.make/%.mk)
PREDICTIONS :=

# What the prediction side is tested by. The files that need TensorFlow leave themselves out (tests/conftest.py).
PREDICT_TESTS := $(addprefix tests/,cli data evaluation execution explanation gp machine predictive report targets \
	test_batch.py test_explore.py test_hostile_runs.py test_library.py test_only_predicts.py test_predictions.py test_rival.py \
	test_runs.py test_same_bytes.py test_stored_runs.py)

.PHONY: help demo test test-slow test-predict lint types docs dist install-predict runs predictions nightly train predict batch clean FORCE

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# --- the environment ---------------------------------------------------------------------------------------------

# Some systems ship Python without ensurepip; there the system's pip puts one into the venv.
# $(call make_venv,PYTHON,FOLDER)
make_venv = if "$(1)" -c 'import ensurepip' 2>/dev/null; then "$(1)" -m venv $(2); \
	else "$(1)" -m venv --without-pip $(2); "$(1)" -m pip --quiet --python $(2)/bin/python install pip; fi

$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: cde needs Python 3.11 or 3.12 with its venv module; found neither. Pass make PYTHON=/path/to/python." >&2; exit 2; }
	@"$(PYTHON)" -c '$(FITS)' 2>/dev/null || { echo "error: cde needs Python 3.11 or 3.12 with its venv module; $(PYTHON) is none. Pass make PYTHON=/path/to/python." >&2; exit 2; }
	test -x $(BIN)/pip || $(call make_venv,$(PYTHON),$(VENV))
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

install-predict: $(PREDICT_INSTALLED) ## install what a machine needs that only predicts, into .venv-predict

$(PREDICT_INSTALLED): requirements-predict.lock pyproject.toml
	@"$(PREDICT_PYTHON)" -c '$(PREDICT_FITS)' 2>/dev/null || { echo "error: predicting needs Python 3.11, 3.12 or 3.13 with its venv module; found none. Pass make PREDICT_PYTHON=/path/to/python." >&2; exit 2; }
	test -x $(PREDICT_VENV)/bin/pip || $(call make_venv,$(PREDICT_PYTHON),$(PREDICT_VENV))
	$(PREDICT_VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-predict.lock
	$(PREDICT_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(DOCS_INSTALLED): requirements-docs.lock $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -r requirements-docs.lock
	touch $@

# --- a first look, and the checks --------------------------------------------------------------------------------

# Two tables: one that is quickly understood, and one with enough rows to tell whether its densities can be trusted.
demo: runs/motorcycle/manifest.json runs/hurricanes/manifest.json ## train on two tables, predict, report, and print the held-out scores
	$(CDE) predict runs/motorcycle data/motorcycle.csv --out predictions/demo --plots --overwrite
	$(CDE) report runs/motorcycle
	$(CDE) report runs/hurricanes
	@echo
	@echo "motorcycle: one input, one target, 13 rows held out"
	@$(CDE) evaluate runs/motorcycle
	@echo
	@echo "hurricanes: seven inputs, two targets, whole years held out"
	@$(CDE) evaluate runs/hurricanes
	@echo
	@echo "pictures of the predictions: predictions/demo/plots/"
	@echo "open in a browser:           runs/hurricanes/report.html, runs/motorcycle/report.html"

test: $(INSTALLED) ## run the tests, WORKERS=2 at a time
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=20

test-slow: $(INSTALLED) ## run the slow tests: statistics and whole trainings
	$(BIN)/python -m pytest -m slow -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=20

test-predict: $(INSTALLED) $(PREDICT_VENV)/.test-tools ## run the tests of the prediction side in .venv-predict
	CDE_WHOLE_INSTALL=$(abspath $(BIN)/python) $(PREDICT_VENV)/bin/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile $(PREDICT_TESTS)

# The test tools are those of the whole install; a machine that only predicts does not get them.
$(PREDICT_VENV)/.test-tools: $(PREDICT_INSTALLED) requirements.lock
	$(PREDICT_VENV)/bin/pip install --quiet --disable-pip-version-check --no-warn-conflicts $$(grep -E '^(pytest|pytest-xdist|hypothesis)==' requirements.lock)
	touch $@

lint: $(INSTALLED) ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## check types
	$(BIN)/mypy

docs: $(DOCS_INSTALLED) ## build the pages into docs/_build/html
	rm -rf docs/_build
	$(BIN)/python -m sphinx -b html -n -W --keep-going -q -c docs -d docs/_build/doctrees . docs/_build/html
	@echo "pages: docs/_build/html/index.html"

dist: $(INSTALLED) ## build the sdist and the wheel into dist/, and try the wheel in an empty environment
	$(BIN)/python .ci/release.py --out dist

# --- batch jobs: only what has changed (configuration, table, code) is made again --------------------------------

runs: $(RUNS) ## train every configs/*.yaml into runs/<name>/

runs/%/manifest.json: configs/%.yaml $(CODE) | $(INSTALLED)
	$(CDE) train $< --out $(@D) --overwrite

# One small file of rules per configuration says which tables its run and its predictions depend on. If a configuration
# cannot be read, its training is tried, so that the fault is reported there and the other runs are made (make -k).
define TABLE_RULES
function word(text) { gsub(/[$$]/, "$$$$", text); gsub(/[ #:]/, "\\\\&", text); return text }
function quoted(text) { gsub(/[$$]/, "$$$$", text); gsub(/'/, "'\\''", text); return "'" text "'" }
{ run = "runs/" name "/manifest.json" }
$$1 == "data" || $$1 == "fault" { print run ": " word($$2) }
$$1 == "folder" { print run " .make/" name ".mk: " word($$2) }
$$1 == "predict" && !seen[$$2]++ {
    table = $$2; sub(/.*[/]/, "", table); sub(/[.][^.]*$$/, "", table); gsub(/[^A-Za-z0-9._-]/, "_", table)
    sub(/^[.]*$$/, "_", table); tables[++count] = table; paths[count] = $$2; shared[tolower(table)]++
}
END { # tables of one name in several folders: each gets the sum of its path
    for (i = 1; i <= count; i++) {
        if (shared[tolower(tables[i])] > 1) {
            command = "printf %s " quoted(paths[i]) " | cksum"; command | getline sum; close(command); split(sum, part, " ")
            tables[i] = substr(tables[i], 1, 200) "-" part[1]
        }
        folder = "predictions/" name "/" tables[i]
        print "PREDICTIONS += " folder "/manifest.json"
        print folder "/manifest.json: " run " " word(paths[i])
        print "\t$$(CDE) predict runs/" name " " quoted(paths[i]) " --out " folder " --overwrite"
    }
}
endef
export TABLE_RULES

.make/%.mk: configs/%.yaml | $(INSTALLED)
	@mkdir -p $(@D)
	@{ $(CDE) config depends $< || printf 'fault\tFORCE\n'; } | awk -F '\t' -v name=$* "$$TABLE_RULES" >$@
	@if grep -q ': FORCE$$' $@; then touch -t 197001020000 $@; fi # old, so that the next make looks again

ifneq ($(filter demo runs predictions nightly runs/% predictions/%,$(MAKECMDGOALS)),)
-include $(RULES)
endif

# A job that fails or is interrupted leaves what was finished before; what it makes it puts in place as a whole.
.PRECIOUS: $(RUNS) $(PREDICTIONS)

predictions: $(RUNS) $(PREDICTIONS) ## predict with every run for every table that its configuration names

# The run is trained again if its table, its configuration or the code has changed. The report is written also of a model
# that fails the gate, which then predicts nothing: the predictions of the last good night stay.
GATE ?= crps_skill>0
BATCH_OUT = predictions/$(notdir $(patsubst %/,%,$(RUN)))/batch

nightly: $(if $(and $(RUN),$(DATA)),$(patsubst %/,%,$(RUN))/manifest.json) ## make nightly RUN=runs/x DATA=new: train if need be, report, check GATE, predict what is new
	@test -n "$(RUN)" -a -n "$(DATA)" || { echo "error: say which: make nightly RUN=runs/motorcycle DATA='new/*.parquet'" >&2; exit 2; }
	$(CDE) report "$(RUN)"
	$(CDE) evaluate "$(RUN)" --gate "$(GATE)"
	$(if $(DRIFT),$(CDE) drift "$(RUN)" "$(DATA)" --gate "$(DRIFT)")
	$(predict_batch)

# A run that is newer than its predictions replaces them all; a batch that was interrupted goes on.
define predict_batch
@again=; if test "$(RUN)/manifest.json" -nt "$(BATCH_OUT)/manifest.json" -a -e "$(BATCH_OUT)/manifest.json"; then again=--overwrite; fi; \
	set -x; $(CDE) batch "$(RUN)" "$(DATA)" --out "$(BATCH_OUT)" $(OPTIONS) $$again
endef

# --- one job -----------------------------------------------------------------------------------------------------

train: $(INSTALLED) ## make train CONFIG=configs/x.yaml: train it into runs/x/
	@test -n "$(CONFIG)" || { echo "error: say which: make train CONFIG=configs/motorcycle.yaml" >&2; exit 2; }
	$(CDE) train "$(CONFIG)" --out "runs/$(basename $(notdir $(CONFIG)))" --overwrite

predict: $(INSTALLED) ## make predict RUN=runs/x DATA=new.csv: predict into predictions/x/new/
	@test -n "$(RUN)" -a -n "$(DATA)" || { echo "error: say which: make predict RUN=runs/motorcycle DATA=data/motorcycle.csv" >&2; exit 2; }
	$(CDE) predict "$(RUN)" "$(DATA)" --out "predictions/$(notdir $(patsubst %/,%,$(RUN)))/$(basename $(notdir $(DATA)))" --overwrite

batch: $(INSTALLED) ## make batch RUN=runs/x DATA='new/*.csv': predict many tables into predictions/x/batch/
	@test -n "$(RUN)" -a -n "$(DATA)" || { echo "error: say which: make batch RUN=runs/motorcycle DATA='new/*.parquet'" >&2; exit 2; }
	$(predict_batch)

clean: ## delete what make has made, except runs and predictions
	rm -rf $(VENV) $(PREDICT_VENV) docs/_build dist .make .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find cde_app tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
