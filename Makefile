# `make check` is all that CI runs; `make fix` mends what a machine can mend.
.PHONY: check format lint layers generated test fix

check: format lint layers generated test

format:
	ruff format --check .

lint:
	ruff check .

layers:  # the stages import only downwards: see pyproject.toml
	lint-imports

generated:  # what is generated and committed is fresh; the specs are valid
	deltac schema --check
	python docs/generate.py --check
	deltac validate specs

test:  # neighbours stay with one worker, for they share what is made once
	python -m pytest -n 2 --dist worksteal

fix:
	ruff format .
	ruff check --fix .
	deltac schema --write
	python docs/generate.py --write
