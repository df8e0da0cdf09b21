# `make demo` trains, predicts and evaluates on phantoms. `make test` runs the tests. Each sets up .venv if needed.
# `make test-all` also runs the long reliability tests: half an hour or more. `make docs` builds a website from docs/.
# On Linux without a GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves gigabytes.

PYTHON ?= python3
BIN := .venv/bin
DEMO := demo

.PHONY: demo test test-all docs clean

demo: .venv/installed
	rm -rf $(DEMO)
	@echo "== 1 of 5: a cohort of phantoms"
	$(BIN)/attention-unet phantom --root $(DEMO)/data
	@echo "== 2 of 5: training, three minutes"
	$(BIN)/attention-unet train --config configs/phantom.yaml --data.root $(DEMO)/data --run $(DEMO)/runs/phantom
	@echo "== 3 of 5: prediction of the test cases"
	$(BIN)/attention-unet predict -i $(DEMO)/data/Phantom/imagesTs -o $(DEMO)/predictions -m $(DEMO)/runs/phantom --attention-maps
	@echo "== 4 of 5: evaluation"
	$(BIN)/attention-unet evaluate -p $(DEMO)/predictions -r $(DEMO)/data/Phantom/labelsTs -o $(DEMO)/evaluation --images $(DEMO)/data/Phantom/imagesTs
	@echo "== 5 of 5: a page to look at"
	$(BIN)/attention-unet report $(DEMO)/evaluation
	@echo "run: $(DEMO)/runs/phantom   predictions: $(DEMO)/predictions   page: $(DEMO)/evaluation/report.html"

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not long" -n auto --dist worksteal

test-all: .venv/installed
	$(BIN)/python -m pytest

docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "site: build/site/index.html"

.venv/installed: pyproject.toml constraints.txt
	@echo "== setting up .venv: torch, MONAI and what they need (once, a minute or more)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,onnx,bundle,dicom]"
	@touch $@

clean:
	rm -rf .venv $(DEMO)
