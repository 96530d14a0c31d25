# Each target sets up .venv by itself; `make demo` is the first thing to try.
PY := .venv/bin/python

.PHONY: demo test test-oldest bench bench-rewrite bench-search bench-cache bench-text-first bench-join reference lint types

.venv/.ready: pyproject.toml constraints.txt
	python3 -m venv .venv
	$(PY) -m pip install --quiet --constraint constraints.txt torch
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/.ready
	$(PY) -m sqlllm pull smollm2
	$(PY) examples/quickstart.py

# Two processes, one thread of torch's in each: threads that share a core wait for each other.
# Files keep their order: by default those of few tests, which take longest here, would come last.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: .venv/.ready
	$(PYTEST)

# The same tests of SQL behaviour on the oldest DuckDB that is supported.
test-oldest: .venv/.ready
	$(PY) -m pip install --quiet --no-deps --upgrade --target .venv-oldest duckdb==1.4.0
	PYTHONPATH=.venv-oldest $(PYTEST) tests/test_functions.py tests/test_errors.py tests/test_install.py \
		tests/test_rewrite.py tests/test_meanings.py tests/test_differential.py tests/test_gather.py tests/test_joins.py \
		tests/test_explain.py tests/test_search.py tests/test_split_text.py tests/test_contract.py \
		tests/test_catalogue.py \
		tests/test_reduce.py tests/test_reduce_errors.py tests/test_aggregates.py tests/test_splitting.py \
		tests/test_redact.py tests/test_redact_names.py tests/test_schema.py tests/test_enforced.py \
		tests/test_prompt.py tests/test_dataframes.py tests/test_polars.py \
		tests/test_polars_aggregates.py tests/test_polars_signatures.py tests/test_polars_memory.py

# This machine, and sqlllm on it against transformers; the README's figures. Takes many minutes.
bench: .venv/.ready
	$(PY) -m sqlllm bench

# Inputs sent and seconds taken by rewriting; the README's figures.
bench-rewrite: .venv/.ready
	$(PY) tests/bench_rewrite.py

# ai.search beside DuckDB's own scan; the README's figures.
bench-search: .venv/.ready
	$(PY) tests/bench_search.py

# A million rows from the cache beside a hash join; the README's figures.
bench-cache: .venv/.ready
	$(PY) tests/bench_cache.py

# Several questions about the same texts, with the text first and the question first; the figures of sqlllm/engine.
bench-text-first: .venv/.ready
	$(PY) tests/bench_text_first.py

# A semantic join, its left texts read once and with every pair; the figures of sqlllm/engine.
bench-join: .venv/.ready
	$(PY) tests/bench_join.py

# The function reference, with what the built-in models answer to its examples, and the types of the
# same functions in Python.
reference: .venv/.ready
	$(PY) -m sqlllm.polars.stub
	$(PY) -m sqlllm functions --markdown > sql/README.md.new && mv sql/README.md.new sql/README.md

lint: .venv/.ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: .venv/.ready
	$(PY) -m mypy
