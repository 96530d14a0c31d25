"""The engine on a device that isn't the CPU: the same answers, and few waits for them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from tiny import collect, save

import sqlllm
from sqlllm.models.causal import CausalModel

backends = pytest.importorskip("torch.utils.backend_registration")
if not hasattr(backends, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this torch has no devices written in Python", allow_module_level=True)

TEXTS = ["a", "zzz " * 10, "", "b" * 33]
KINDS = ["llama", "mistral", "gemma2", "gpt_oss", "bloom"]  # each has code of its own
TASKS = {
    "write": sqlllm.Task("complete", system="be brief", max_tokens=6),
    "draw": sqlllm.Task("complete", max_tokens=6, temperature=0.7, top_p=0.9, seed=3),
    "enforce": sqlllm.Task("complete", pattern="(ab|cd)e+", max_tokens=9),
    "one token": sqlllm.Task("choose", labels=("a", "b"), instruction="Good?"),
    "several tokens": sqlllm.Task("choose", labels=("bug", "bug report", "b")),
    "each label": sqlllm.Task("choose", labels=("bug", "b"), multi=True),
}


@pytest.fixture(scope="module")
def apart() -> Iterator[Executor]:
    """Another process: to libraries, one that has imported `elsewhere` has an accelerator."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        yield process


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param))


SQL = """
    SELECT i, ai.filter(x, 'Good?') AS a, ai.filter(x, 'Long?') AS b,
        ai.complete(ai.prompt('{0} and {1}', y, x), max_tokens := 4) AS c
    FROM (VALUES (1, 'some text', 'the same beginning'), (2, 'zz', 'the same beginning'),
        (3, 'more of it', 'another beginning'), (4, 'some', 'another beginning')) t(i, x, y)
    ORDER BY i
"""


def loaded(folder: Path) -> CausalModel:
    import elsewhere

    with mock.patch("sqlllm.models.causal.device", return_value=elsewhere.NAME):
        model = CausalModel(folder, dtype="float32")
    assert model._model.device.type == elsewhere.NAME
    return model


def rows(model: CausalModel, *, text_first: bool) -> list[Any]:
    with sqlllm.connect(
        models={"tiny": model}, model="tiny", cache="off", text_first=text_first
    ) as db:
        return list(db.execute(SQL).fetchall())


def rows_there(folder: Path, *, text_first: bool) -> list[Any]:
    return rows(loaded(folder), text_first=text_first)


def asked(
    folder: Path, names: Sequence[str] = tuple(TASKS), most_bytes: int | None = None
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Of a model there: its note; the answers to each task; forward passes and waits of each."""
    import elsewhere

    model = loaded(folder)
    answers, counts = {}, {}
    with mock.patch.object(elsewhere, "most_bytes", most_bytes):
        for name in names:
            task = TASKS[name]
            elsewhere.kernels.clear()
            elsewhere.waits.clear()
            answers[name] = collect(getattr(model, task.kind)(task, TEXTS))
            passes = elsewhere.kernels["aten.embedding.default"]
            counts[name] = (passes, elsewhere.waits.total())
    return model.note, answers, counts


def same(left: dict[int, Any], right: dict[int, Any]) -> None:
    assert left.keys() == right.keys() == set(range(len(TEXTS)))
    for row, answer in right.items():
        if isinstance(answer, str):
            assert left[row] == answer
        else:
            np.testing.assert_allclose(left[row], answer, atol=1e-4)


def test_the_same_answers_with_one_wait_for_each_pass(apart: Executor, folder: Path) -> None:
    here = CausalModel(folder, dtype="float32")
    note, answers, counts = apart.submit(asked, folder).result()
    assert note == here.note
    for name, task in TASKS.items():
        same(answers[name], collect(getattr(here, task.kind)(task, TEXTS)))
        passes, waits = counts[name]
        if not note and name not in ("draw", "enforce"):  # those may wait for each token of a draft
            assert 0 < waits <= passes, name
    if not note:
        assert counts["one token"][1] == 1  # the neutral text's scores stay there


@pytest.mark.parametrize(("name", "most_bytes"), [("write", 60_000), ("one token", 150_000)])
def test_memory_that_runs_out_there(
    apart: Executor, tmp_path: Path, name: str, most_bytes: int
) -> None:
    """A tensor may have one row's scores (45 kB) or an instruction's (118), not all rows'."""
    folder = save("llama", tmp_path)
    _, expected, enough = apart.submit(asked, folder, [name]).result()
    _, answers, short = apart.submit(asked, folder, [name], most_bytes).result()
    same(answers[name], expected[name])
    assert short[name] > enough[name]  # passes


@pytest.mark.parametrize("text_first", [False, True])
def test_texts_and_beginnings_that_are_read_once(
    apart: Executor, tmp_path: Path, text_first: bool
) -> None:
    folder = save("llama", tmp_path)
    got = apart.submit(rows_there, folder, text_first=text_first).result()
    assert got == rows(CausalModel(folder, dtype="float32"), text_first=text_first)


def embedded(packed: bool) -> Any:
    import elsewhere

    from sqlllm.engine import encoder
    from sqlllm.models.sentence import SentenceModel, minilm_folder

    with (
        mock.patch("sqlllm.models.sentence.device", return_value=elsewhere.NAME),
        mock.patch.object(encoder, "has_kernel", return_value=packed),
        mock.patch("torch.nn.attention.varlen.varlen_attn", varlen),
    ):
        model = SentenceModel(minilm_folder(), dtype="float32")
        assert model._encoder is not None
        return collect(model.embed(sqlllm.Task("embed"), TEXTS))


def varlen(query: Any, key: Any, value: Any, ends: Any, _: Any, longest: int, __: int) -> Any:
    """What torch's kernel for packed rows does, row by row."""
    import torch

    assert ends.device == query.device
    assert ends.dtype == torch.int32
    at = ends.tolist()
    sizes = [end - start for start, end in pairwise(at)]
    assert longest == max(sizes)
    rows = zip(*(x.split(sizes) for x in (query, key, value)), strict=True)
    flipped = [[x.transpose(0, 1)[None] for x in row] for row in rows]
    attend = torch.nn.functional.scaled_dot_product_attention
    return torch.cat([attend(*row)[0].transpose(0, 1) for row in flipped])


@pytest.mark.parametrize("packed", [True, False])
def test_the_same_vectors(apart: Executor, packed: bool) -> None:
    from sqlllm.models.sentence import SentenceModel, minilm_folder

    try:
        here = SentenceModel(minilm_folder(), dtype="float32")
    except sqlllm.ModelMissing as error:
        pytest.skip(str(error))
    same(apart.submit(embedded, packed).result(), collect(here.embed(sqlllm.Task("embed"), TEXTS)))


def mixed() -> str:
    import elsewhere
    import torch

    try:
        torch.ones(3, device=elsewhere.NAME) + torch.ones(3)
    except RuntimeError as error:
        return str(error)
    return "nothing"


def test_tensors_of_two_devices_are_told(apart: Executor) -> None:
    assert "are on the cpu" in apart.submit(mixed).result()
