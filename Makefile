# The one set of commands, for people and for CI. `make quickstart` and `make test` set up everything they need.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# A pocket-sized model is fastest with few threads; every tool below shares the machine with others.
export TOKENIZERS_PARALLELISM := false
# The tests start many Pythons: what is compiled is kept, also where the environment says otherwise.
export PYTHONDONTWRITEBYTECODE :=
# A module's tests share what its fixtures made, so one process runs them all; the modules with slow tests come first. Three
# processes keep two cores busy: each waits now and then, for what it started or for a simulated model.
SPREAD := -n 3 --dist loadscope --no-loadscope-reorder

.PHONY: quickstart test test-isa test-ray test-wheel test-extras test-docs test-real setup lint check house docs serve-docs release format clean

quickstart: $(STAMP)
	$(BIN)/pop quickstart

# One thread each: three processes with two would wait for each other's.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest $(SPREAD)

# What a training or a sampling leads to must not hang on one processor's rounding: once more with the plainest instructions.
test-isa: $(STAMP)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(BIN)/pytest $(SPREAD) -m learning

# Clusters of Ray on this machine, whose workers, raylets and drivers are killed: minutes, most of them spent waiting.
test-ray: $(STAMP)
	$(BIN)/pytest $(SPREAD) -m ray

# The wheel as users get it: built, checked, installed alone into an empty environment and used there. Needs a package index.
test-wheel: $(STAMP)
	$(BIN)/pytest -s -m wheel

# Each extra of the wheel, alone in an empty environment: how long it takes, how large it is, and whether it does what it is for.
test-extras: $(STAMP)
	$(BIN)/python -m tools.extras

# Every command of README and docs/, as it stands there: minutes.
test-docs: $(STAMP)
	$(BIN)/python -m tools.run_docs

# Against a real model and a real vLLM, which environment variables name: tests/real/test_vllm.py says which. Skips without.
test-real: $(STAMP)
	$(BIN)/pytest -s -m real tests/real

setup: $(STAMP)

# torch is installed first and by its exact version, so that nothing else pulls CUDA in; TORCH_INDEX=… says where from.
$(STAMP): pyproject.toml constraints.txt tools/install_torch.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python tools/install_torch.py
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev --group docs
	touch $(STAMP)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: $(STAMP)
	$(BIN)/mypy

# How large the modules and functions are, what nobody uses: the figures that tests/unit/test_house.py holds.
house: $(STAMP)
	$(BIN)/python -m tools.house

# The documentation as a site, into site/: every link is checked, and a page that the menu lacks is an error.
docs: $(STAMP)
	$(BIN)/python -m tools.reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

serve-docs: $(STAMP)
	$(BIN)/python -m tools.reference
	$(BIN)/mkdocs serve

# A dry run: version, changelog and tree agree, and what would be published is built and checked. Then tag, and push the tag.
release: $(STAMP)
	$(BIN)/python -m tools.release $(VERSION)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
