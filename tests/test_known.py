"""Models that an earlier process has loaded: asked for cached answers, they stay on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tiny import TEMPLATE, save, tokenizer

import sqlllm
from sqlllm.engine import prompt
from sqlllm.engine.device import model_digest
from sqlllm.models import known
from sqlllm.models.base import ANSWERS
from sqlllm.models.known import signature
from sqlllm.task import Task

CACHED = """
import sys, sqlllm
with sqlllm.connect() as db:
    db.execute("CREATE TABLE t AS SELECT unnest(['late parcel', 'double invoice']) AS x")
    call = "ai.classify(x, ['billing', 'delivery'])"
    print(db.execute(f"SELECT {call}, round(list_sum(ai.embed(x)), 4) FROM t").fetchall())
    print(db.execute("SELECT sum(sent) FROM ai.usage WHERE this_session").fetchone()[0])
print(sorted({"torch", "transformers", "sentence_transformers"} & set(sys.modules)))
"""


def test_a_cached_query_loads_neither_torch_nor_a_model() -> None:
    ran = [
        subprocess.run(
            [sys.executable, "-c", CACHED], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for _ in range(2)
    ]
    (rows, sent, loaded), (again, sent_again, loaded_again) = ran
    assert rows == again
    assert "delivery" in rows
    assert (int(sent), int(sent_again)) == (4, 0)
    assert (json.loads(loaded.replace("'", '"')) != [], loaded_again) == (True, "[]")


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    return save("llama", tmp_path / "tiny")


def labels(folder: Path, **settings: Any) -> tuple[list[Any], int]:
    """Answers of a new installation, and how many inputs it sent."""
    models: dict[str, Any] = {"tiny": f"hf:{folder}"}
    with sqlllm.connect(models=models, model="tiny", **settings) as db:
        query = "SELECT ai.classify(x, ['a', 'b']) FROM (VALUES ('one'), ('two')) t(x)"
        rows = db.execute(query).fetchall()
        sent = db.execute("SELECT sum(sent) FROM ai.usage WHERE this_session").fetchone()
        return rows, sent[0]


def test_a_model_that_became_another_is_told_and_its_answers_are_asked_anew(
    tiny_model: Path,
) -> None:
    rows, sent = labels(tiny_model)
    assert sent == 2
    assert labels(tiny_model) == (rows, 0)
    with sqlite3.connect(os.environ["SQLLLM_CACHE_FILE"]) as file:  # as if it had been replaced
        file.execute("UPDATE models SET facts = replace(facts, 'causal:', 'causal:0')")
    file.close()
    with pytest.raises(sqlllm.ModelError, match="is not the one it was: causal:0") as caught:
        labels(tiny_model)
    assert "run the query again" in str(caught.value)
    assert labels(tiny_model) == (rows, 0)


def scores(uri: str) -> tuple[list[Any], int]:
    """Answers of a new installation, and how many inputs it sent."""
    with sqlllm.connect(model=uri) as db:
        rows = db.execute("SELECT ai.score(x, 'good?') FROM (VALUES ('one')) t(x)").fetchall()
        sent = db.execute("SELECT sum(sent) FROM ai.usage WHERE this_session").fetchone()
        return rows, sent[0]


def test_new_files_in_a_models_folder_are_another_model_in_the_same_process(
    tiny_model: Path,
) -> None:
    """The facts of the one in memory were kept for them: others got its answers for the new one."""
    before, sent = scores(f"hf:{tiny_model}")
    save("llama", tiny_model, initializer_range=0.3)
    after, asked = scores(f"hf:{tiny_model}")
    assert (sent, asked) == (1, 1)
    assert before != after
    assert scores(f"hf:{tiny_model}") == (after, 0)


def test_a_relative_folder_is_that_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, spread in (("one", 0.6), ("two", 0.3)):
        save("llama", tmp_path / name / "model", initializer_range=spread)
        monkeypatch.chdir(tmp_path / name)
        found.append(scores("hf:model"))
    assert found[0][0] != found[1][0]


@pytest.mark.parametrize("facts", ["", "{}", "[1]", '{"fingerprint": "x", "who": 1}'])
def test_facts_that_can_t_be_read_load_the_model(tiny_model: Path, facts: str) -> None:
    rows, _ = labels(tiny_model)
    with sqlite3.connect(os.environ["SQLLLM_CACHE_FILE"]) as file:
        file.execute("UPDATE models SET facts = ?", (facts,))
    file.close()
    assert labels(tiny_model) == (rows, 0)
    assert labels(tiny_model, cache="read") == (rows, 0)


@pytest.mark.parametrize(
    ("changed", "content"),
    [
        ("tokenizer_config.json", '{"tokenizer_class": "PreTrainedTokenizerFast"}'),
        ("chat_template.jinja", TEMPLATE.replace("user", "customer") + " "),
        ("generation_config.json", '{"eos_token_id": 7}'),
        ("vocab.txt", "word"),
        ("tokenizer.model", "word"),
        ("1_Pooling/config.json", "{}"),
    ],
)
def test_whatever_decides_answers_is_in_the_fingerprint(
    tiny_model: Path, changed: str, content: str
) -> None:
    digest, mark = model_digest(tiny_model), signature(tiny_model)
    (tiny_model / "README.md").write_text("about it", encoding="utf-8")
    assert model_digest(tiny_model) == digest
    (tiny_model / changed).parent.mkdir(exist_ok=True)
    (tiny_model / changed).write_text(content, encoding="utf-8")
    assert model_digest(tiny_model) != digest
    assert signature(tiny_model) != mark


@pytest.mark.parametrize(
    ("name", "share"),
    [("model.safetensors", 0.5), ("model.safetensors", 0.0001), ("config.json", 0.5),
     ("tokenizer.json", 0.5)],
)  # fmt: skip
def test_a_model_whose_file_is_cut_off(tiny_model: Path, name: str, share: float) -> None:
    file = tiny_model / name
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(sqlllm.ModelError, match="tiny' can't be loaded") as caught:
        labels(tiny_model)
    assert "may be cut off or damaged: fetch the model again" in str(caught.value)


def test_a_signature_sees_files_and_devices(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = signature(tiny_model)
    assert signature(tiny_model) == mark
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    elsewhere = signature(tiny_model)
    os.utime(tiny_model / "model.safetensors", ns=(1, 1))
    marks = {mark, elsewhere, signature(tiny_model)}
    for package in ("sqlllm", "torch", "transformers", "sentence-transformers"):
        with monkeypatch.context() as patch:
            newer = {package: "newer"}
            patch.setattr(known, "version", lambda name, to=newer: to.get(name, version(name)))
            marks.add(signature(tiny_model))
    assert len(marks) == 7


def test_another_wording_is_another_version() -> None:
    """The prompts as a digest: whoever changes them raises `ANSWERS`, and this number."""
    read = tokenizer()
    choice = {"kind": "choose", "labels": ("a", "b"), "instruction": "which?"}
    schema = '{"type": "object", "properties": {"x": {"type": "string"}}}'
    tasks = [
        Task(**choice),
        Task(**choice, descriptions=("first", ""), examples=(("text", "a"),)),
        Task("choose", labels=("a", "none"), none_of_these="none"),
        Task("choose", labels=("yes", "no"), instruction="is it?"),
    ]
    made = [prompt.choice_prompt(read, task) for task in tasks]
    made += [
        prompt.extraction_prompt(read, Task("extract", schema=schema)),
        prompt.extraction_prompt(read, Task("extract", schema=schema, shown="{}")),
        prompt.completion_prompt(read, "system"),
        prompt.completion_prompt(read, ""),
    ]
    seen = [*((p.head, p.tail) for p in made), [prompt.answers(task) for task in tasks]]
    digest = hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest()
    assert (ANSWERS, digest) == (4, "def2c3d12eb99a1f")
    tasks += [
        Task("extract", schema=schema),
        Task("extract", schema=schema, instruction="who?"),
        Task("complete", schema=schema, system="system"),
    ]
    first = [prompt.prompt_of(read, replace(task, text_first=True)) for task in tasks]
    seen = [(p.head, p.tail) for p in first]
    digest = hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest()
    assert (ANSWERS, digest) == (4, "4895c9c46ee15433")
