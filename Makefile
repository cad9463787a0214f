# Everything happens in .venv, with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint clean

demo: $(STAMP)
	$(BIN)/tak demo -o demo

test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "tak-seg needs Python 3.11 or newer; make PYTHON=python3.12 names another"; exit 1; }
	@echo "installing into .venv: 7 GB, of which 3 GB are downloaded, mostly PyTorch; 5 to 15 minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)
	@echo "installed: $(BIN)/tak, or tak after: source $(BIN)/activate"

clean:
	rm -rf .venv demo dist build .mypy_cache .ruff_cache .pytest_cache
