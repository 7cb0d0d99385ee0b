# leanmark: every target sets up what it needs by itself.
PYTHON ?= python3
BIN := .venv/bin

MODEL ?=
RECIPE ?= balanced
DATA ?=
WEIGHTS ?=
OUT ?=
RUNTIME ?=
MAX_TRAIN_TIME ?=

CPU_INDEX := https://download.pytorch.org/whl/cpu

# Without byte code, each of many processes compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup compress certify verify test lint docs notebook bench guide coverage fleet peers fuzz mutants rings dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/compress.stamp .venv/dev.stamp ## set up .venv with everything (maker, referee, tests)

.venv/compress.stamp: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo 'leanmark needs Python >= 3.10; say which one with PYTHON=/path/to/python3'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@index=''; size='2 to 7 GB, as the index offers torch'; \
	if nvidia-smi -L >/dev/null 2>&1; then size='about 7 GB, with CUDA'; \
	elif $(BIN)/python -c 'from urllib.request import urlopen; urlopen("$(CPU_INDEX)/torch/", timeout=5)' 2>/dev/null; then \
	  index='--extra-index-url $(CPU_INDEX)'; size='about 2 GB, with torch for processors, as no NVIDIA device is seen'; \
	fi; \
	echo "Installing leanmark, torch and ONNX Runtime into .venv ($$size); this takes minutes."; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$index --editable '.[compress]'
	@touch $@

.venv/dev.stamp: .venv/compress.stamp
	@echo 'Installing what the tests need into .venv (some 100 MB more).'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[compress,dev,docs,export]'
	@touch $@

compress: .venv/compress.stamp ## compress and grade: MODEL=resnet50 [RECIPE DATA WEIGHTS OUT RUNTIME MAX_TRAIN_TIME]
	@test -n '$(MODEL)' || { echo 'Say which model: make compress MODEL=resnet50'; exit 2; }
	@$(BIN)/leanmark compress '$(MODEL)' --recipe '$(RECIPE)' \
	  $(if $(OUT),--out '$(OUT)') $(if $(DATA),--data '$(DATA)') $(if $(WEIGHTS),--weights '$(WEIGHTS)') \
	  $(if $(RUNTIME),--runtime '$(RUNTIME)') $(if $(MAX_TRAIN_TIME),--max-train-time '$(MAX_TRAIN_TIME)')

certify: .venv/compress.stamp ## grade a pair of ONNX files: CANDIDATE=a.onnx BASELINE=b.onnx DATA=spec [PREPROCESS OUT]
	@test -n '$(CANDIDATE)' -a -n '$(BASELINE)' -a -n '$(DATA)' || \
	  { echo 'Say what to grade: make certify CANDIDATE=a.onnx BASELINE=b.onnx DATA=mnist5k PREPROCESS=contract.yaml'; exit 2; }
	@$(BIN)/leanmark certify '$(CANDIDATE)' --baseline '$(BASELINE)' --data '$(DATA)' \
	  $(if $(PREPROCESS),--preprocess '$(PREPROCESS)') $(if $(RUNTIME),--runtime '$(RUNTIME)') \
	  --out '$(or $(OUT),build/$(notdir $(basename $(CANDIDATE))))'

verify: .venv/compress.stamp ## check a graded file: FILE=build/resnet50/model.onnx
	@test -n '$(FILE)' || { echo 'Say which file: make verify FILE=build/resnet50/model.onnx'; exit 2; }
	@$(BIN)/leanmark verify '$(FILE)'

test: .venv/dev.stamp ## run the tests
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: .venv/dev.stamp ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: .venv/dev.stamp ## build the documentation site into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --config-file recipes/mkdocs.yml
	@echo 'Open build/site/index.html.'

notebook: .venv/dev.stamp ## run recipes/quickstart.ipynb and keep its output in it
	@$(BIN)/jupyter-execute --inplace recipes/quickstart.ipynb

bench: .venv/dev.stamp ## print the benchmarks' figures, in their short forms (figures are not pass or fail)
	@failed=''; for script in tests/benchmarks/[a-z]*.py; do \
	  echo "$$script --quick"; began=$$(date +%s); \
	  $(BIN)/python "$$script" --quick || failed="$$failed $$script"; \
	  echo "$$script took $$(($$(date +%s) - began)) s"; done; \
	test -z "$$failed" || { echo "These benchmarks did not end with 0:$$failed"; exit 1; }

guide: .venv/compress.stamp ## run every command of the guide 'From a model to a scorecard'; under half an hour
	@$(BIN)/python tests/guides/run_guide.py $(if $(OUT),--folder '$(OUT)')

.venv/zoo.stamp: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[compress,dev,export,timm]'
	@touch $@

coverage: .venv/zoo.stamp ## take every architecture of the zoo all the way, a table: [ZOO=timm MODELS='resnet*' AGAIN=1]; resumable, hours
	@$(BIN)/python tests/zoo/zoo.py $(if $(ZOO),--zoo '$(ZOO)') $(if $(MODELS),--models '$(MODELS)') $(if $(AGAIN),--again)

.venv/fuzz.stamp: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[compress,dev,export,fuzz]'
	@touch $@

fuzz: .venv/fuzz.stamp ## tamper with graded files and feed hostile ones: [COUNT=10000 SEED=0 RESUME=folder]; hours at the full count
	@$(BIN)/python tests/fuzz/tampering.py --count $(or $(COUNT),10000) --seed $(or $(SEED),0) \
	  $(if $(RESUME),--resume '$(RESUME)/tampering.jsonl')
	@$(BIN)/python tests/fuzz/findings.py
	@$(BIN)/python tests/fuzz/scorecards.py --count $(or $(COUNT),20000) --seed $(or $(SEED),0)
	@$(BIN)/python tests/fuzz/live_messages.py --count $(or $(COUNT),10000) --seed $(or $(SEED),0)
	@$(BIN)/python tests/fuzz/hostile.py --count $(or $(COUNT),100000) --seed $(or $(SEED),0) \
	  $(if $(RESUME),--resume '$(RESUME)/hostile.jsonl')

.venv/flower.stamp: .venv/dev.stamp
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' && $(PYTHON) -m venv .venv/flower \
	  && .venv/flower/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[flower]' \
	  && touch $@ || echo 'SKIPPED: the extra flower cannot be installed here (it needs Python >= 3.11 and a package index).'

fleet: .venv/flower.stamp ## a federation of Flower processes on this machine, server and client killed midway; minutes
	@test ! -e .venv/flower.stamp || .venv/flower/bin/python tests/fleet/fleet.py

.venv/peers.stamp: .venv/dev.stamp
	@$(PYTHON) -m venv .venv/peers \
	  && .venv/peers/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[peers]' \
	  && touch $@ || echo 'SKIPPED: the extra peers cannot be installed here (it needs a package index).'
	@test ! -e $@ || .venv/peers/bin/python -m pip install --quiet --disable-pip-version-check 'aimet-onnx==2.42.0' \
	  || echo 'AIMET-ONNX cannot be installed here; its rows will say so.'

peers: .venv/peers.stamp ## files of leanmark and of other toolkits side by side: [MODELS='resnet20 efficientnet_lite0' OUT=build/peers OPTIONS=--quick]
	@test ! -e .venv/peers.stamp || .venv/peers/bin/python tests/benchmarks/peers.py $(MODELS) \
	  --out '$(or $(OUT),build/peers)' $(OPTIONS)

.venv/mutants.stamp: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[compress,dev,export,mutants]'
	@touch $@

mutants: .venv/mutants.stamp ## change the arithmetic and list what no test notices: [FILES='certify/attest/*' COUNT=20 SEED=0 MINUTES=60]; a report, no gate
	@$(BIN)/python tests/mutants/mutants.py --files '$(or $(FILES),*)' --count $(or $(COUNT),20) --seed $(or $(SEED),0) \
	  --minutes $(or $(MINUTES),60)

rings: .venv/dev.stamp ## install the base ring and let it judge a file: [PYTHONS='python3.10 python3.13']
	@$(BIN)/python tests/rings/rings.py $(PYTHONS)

dist: .venv/dev.stamp ## build the source archive and the wheel into dist/, offline
	@rm -rf dist
	@$(BIN)/python -c 'from setuptools import build_meta; build_meta.build_sdist("dist")' >/dev/null
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
	  --wheel-dir dist dist/*.tar.gz
	@ls dist

clean: ## remove .venv, build/ and caches
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
