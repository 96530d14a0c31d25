"""`sqlllm bench`: formulas against numbers worked out by hand, and a small run of the command."""

from __future__ import annotations

import doctest
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sqlllm
from sqlllm.bench import Options, Report, configs, engines, limits, machine, models, run, texts
from sqlllm.bench.limits import Part, Peaks, Shape
from sqlllm.bench.memory import Footprint
from sqlllm.bench.method import OURS, Answered, Line, Method, Skipped, Table, Workload
from sqlllm.bench.report import grown
from sqlllm.bench.rounds import Rounds
from sqlllm.bench.targets import targets
from sqlllm.bench.writing import valid
from sqlllm.cli import bench as cli
from sqlllm.cli import main
from sqlllm.engine.prompt import encode
from sqlllm.models.sentence import minilm_folder

SHAPE = Shape(
    layers=2, attention=8, keys_values=8, linear=1000, hidden=10, vocabulary=50, weight_bytes=2
)


@pytest.mark.parametrize("module", ["limits", "baselines", "sql", "writing"])
def test_docstring_examples(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"sqlllm.bench.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_tokens_of_a_row_behind_others() -> None:
    # 3 tokens x 2 x 1000 weights; they see 5, 6 and 7 tokens, 4 x 2 layers x 8 numbers each.
    assert SHAPE.tokens(3, before=4) == 6000 + 64 * (5 + 6 + 7)
    both_ways = Shape(2, 8, 8, 1000, 10, 50, 2, causal=False)
    assert both_ways.tokens(3) == 6000 + 64 * 9
    assert SHAPE.tokens(7) == SHAPE.tokens(4) + SHAPE.tokens(3, before=4)


def test_choosing_reads_the_head_once_and_scores_only_the_labels() -> None:
    head, rows, labels = limits.choosing(SHAPE, 4, [3, 3], labels=5)
    assert head == Part(SHAPE.tokens(4), 2000 + 2 * 8 * 4 * 2)
    assert rows == Part(2 * SHAPE.tokens(3, 4), 2000 + 2 * 8 * 4 * 2 + 2 * 8 * 6 * 2)
    assert labels == Part(2 * 2 * 10 * 5, 10 * 5 * 2)
    assert len(limits.choosing(SHAPE, 0, [3], 5)) == 2  # nothing is shared


def test_writing_takes_a_step_per_token_for_the_rows_that_still_write() -> None:
    parts = limits.writing(SHAPE, 4, [3, 2], [1, 3])
    assert parts[:2] == limits.reading(SHAPE, 4, [3, 2])
    first, second, third = parts[2:]
    assert first == Part(2 * 2 * 10 * 50, 10 * 50 * 2)  # predicted by the last token read
    # The second row reads its first written token behind 4 + 2 others.
    assert second.flops == SHAPE.tokens(1, before=6) + 1000
    assert second.bytes == 1000 + 2000 + 2 * 8 * (4 + 3) * 2
    assert third.flops == SHAPE.tokens(1, before=7) + 1000
    assert limits.writing(SHAPE, 4, [3], [0]) == limits.reading(SHAPE, 4, [3])


def test_a_part_is_bound_by_arithmetic_or_by_memory() -> None:
    peaks = Peaks(flops=100, bandwidth=10)
    parts = [Part(flops=200, bytes=10), Part(flops=200, bytes=50)]
    assert limits.least_seconds(parts, peaks) == 2 + 5
    assert limits.issued(parts) == 400
    assert limits.embedding(SHAPE, [2, 3]) == [Part(SHAPE.tokens(2) + SHAPE.tokens(3), 2000)]


def test_shapes_of_published_models() -> None:
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(minilm_folder())
    shape = models._shape(config, "float32", auto=AutoModel, causal=False)
    assert shape.linear == 6 * (4 * 384**2 + 2 * 384 * 1536)  # neither embeddings nor the pooler
    assert (shape.attention, shape.keys_values, shape.weight_bytes) == (384, 768, 4)
    config = AutoConfig.for_model(**configs.config_values("mistral-7b"))
    shape = models._shape(config, "bfloat16")
    assert shape.linear == 32 * 4096 * (2 * 4096 + 2 * 1024 + 3 * 14336)
    assert (shape.attention, shape.keys_values, shape.weight_bytes) == (4096, 2048, 2)


@pytest.mark.parametrize("name", ["minilm", "smollm2"])
def test_texts_are_as_long_as_asked(name: str, request: pytest.FixtureRequest) -> None:
    from transformers import AutoTokenizer

    folder = minilm_folder() if name == "minilm" else request.getfixturevalue("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lengths = texts.lognormal(60, mean=30, most=64)
    assert max(lengths) <= 64
    made = texts.texts(lengths, lambda text: len(encode(tokenizer, text)))
    assert [len(encode(tokenizer, text)) for text in made] == lengths
    assert len(set(made)) == len(made)
    assert made == texts.texts(lengths, lambda text: len(encode(tokenizer, text)))


def test_texts_that_can_not_be_made_are_refused() -> None:
    with pytest.raises(sqlllm.SqlllmError, match="larger vocabulary"):
        texts.texts([3], len)  # a tokenizer of single characters
    with pytest.raises(sqlllm.SqlllmError, match="distinct"):
        texts.texts([1] * 1000, lambda text: len(text.split()))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere freed memory may stay")
def test_peak_memory_sees_what_is_freed_again() -> None:
    import numpy as np

    with machine.PeakMemory() as peak:
        block = np.ones(40 << 17)  # 40 MiB, touched
        for _ in range(3):
            machine.time.sleep(0.01)
        del block
    assert 35 << 20 < peak.bytes < 80 << 20


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        ('{"topic": "other", "urgent": false, "items": 0}', True),
        ('{"topic": "other", "urgent": false}', False),
        ('{"topic": "weather", "urgent": false, "items": 0}', False),
        ('{"topic": "other", "urgent": false, "items": true}', False),
        ('Sure! {"topic": "other"}', False),
        (None, False),
    ],
)
def test_valid(answer: str | None, fits: bool) -> None:
    assert valid(answer) is fits


def report() -> Report:
    ours = Line("ai.classify", "sqlllm", 100, tokens=1000, flops=50.0)
    ours.seconds = {0: 1.0, 1: 2.0, 2: 1.0}
    rows = Line("generate", "rows", 10, tokens=100)
    rows.seconds = {0: 2.0, 1: 3.0}  # the third round was interrupted
    table = Table("classify", {"rows": 100}, [ours, rows], [Part(50, 0)], {0: 90, 1: 50, 2: 100})
    found = Report({}, {}, Peaks(100, 1), 50, tables=[table])
    found.machine = dict.fromkeys(("cpu", "cores", "device", "dtype", "python"), "?")
    found.machine |= {"torch": "?", "transformers": "?"}
    return found


def test_ratios_are_per_row_and_inside_a_round() -> None:
    found = report()
    (table,) = found.tables
    ours, rows = table.lines
    assert table.times(rows) == [20, 15]
    assert found.mfu(ours) == 0.5
    assert found.sol(table, ours) == 0.5
    assert found.sol(table, rows) == pytest.approx(0.02)
    assert found.sol_beside(table, ours) == pytest.approx(0.5)  # of 5/9, 1/2 and 1/2
    judged = {target.what: target for target in targets(found)}
    faster, sol = judged["times faster than generate"], judged["SOL"]
    assert (faster.measured, faster.reached) == (17.5, True)
    assert (sol.measured, sol.reached) == (0.5, False)


def test_memory_is_compared_without_results() -> None:
    few, many = Footprint("embed", 10, 120, 20), Footprint("embed", 100, 310, 200)
    assert grown(few, many) == pytest.approx(1.1)
    found = report()
    found.memory = [few, many]
    (entry,) = found.to_dict()["memory"]
    assert entry["ratio"] == pytest.approx(1.1)
    assert entry["bytes_per_row"] == pytest.approx(10 / 90)
    assert targets(found)[-1].reached


def test_reports_hold_what_is_not_known() -> None:
    found = report()
    found.interrupted = True
    written = found.to_dict()
    methods = written["workloads"][0]["methods"]
    assert methods[1]["mfu"] is None  # NaN is no JSON
    assert methods[1]["times_median"] == 17.5
    lines = "\n".join(cli._markdown(found))
    assert "| generate (on 10 of 100 rows) | 4.0 |" in lines
    assert "17.50x (15.00-20.00)" in lines
    assert "SOL of ai.classify is 50.0%" in lines
    assert "| classify | SOL | ≥ 0.6 | 0.50 | missed |" in lines
    assert lines.endswith("interrupted: this is what was measured so far")


@pytest.mark.usefixtures("small_products")
def test_a_baseline_that_fails_is_left_out_and_ours_may_not_fail() -> None:
    def fail() -> Answered:
        msg = "out of luck"
        raise OSError(msg)

    def built(ours: Callable[[], Answered]) -> Workload:
        methods = [
            Method(Line("ai.embed", OURS, 1), ours, lambda: None),
            Method(Line("a", "rows", 1), fail, lambda: None),
            Method(Line("b", "static", 1), fail, fail),
        ]
        table = Table.of("embed", {"rows": 1}, methods, {}, [])
        return Workload(table, methods, lambda _: [Part(1, 1)], lambda *_: {})

    found = Report({}, {}, Peaks(1, 1), 1)
    said: list[str] = []
    rounds = Rounds(Options(rounds=2), "cpu", "float32", found, said.append)
    rounds.workload("embed", lambda: built(lambda: Answered(1.0, 1, 1.0, [])))
    (table,) = found.tables
    assert table.skipped == {"rows": "OSError: out of luck", "static": "OSError: out of luck"}
    assert [len(line.seconds) for line in table.lines] == [2, 0, 0]
    assert "embed: without a: OSError: out of luck" in said
    with pytest.raises(OSError, match="luck"):
        rounds.workload("embed", lambda: built(fail))


def test_other_engines_are_asked_for_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is installed here: modules of their shape stand in."""
    model: Any = SimpleNamespace(
        files=".", plain_dtype="float32", folder=None, ends=[2], config=SimpleNamespace()
    )
    model.config.get_text_config = lambda: SimpleNamespace(max_position_embeddings=64)
    with pytest.raises(Skipped, match="the package vllm is not installed"):
        engines.start("vllm", model, None)

    class Llama:
        def __init__(self, **_: Any) -> None: ...

        def generate(self, tokens: list[int], temp: float) -> Iterator[int]:
            yield from [*tokens, 2, 9]

    class LLM:
        def __init__(self, **_: Any) -> None: ...

        def generate(self, prompts: list[Any], asked: Any, use_tqdm: bool) -> list[Any]:
            rows = [prompt["prompt_token_ids"][: asked.max_tokens] for prompt in prompts]
            return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=row)]) for row in rows]

    for module, names in {
        "llama_cpp": {"Llama": Llama},
        "vllm": {"LLM": LLM, "SamplingParams": lambda **given: SimpleNamespace(**given)},
    }.items():
        stand_in = SimpleNamespace(**names, __spec__=True)  # it is installed
        monkeypatch.setitem(sys.modules, module, stand_in)
    with pytest.raises(Skipped, match="--gguf"):
        engines.start("llamacpp", model, None)
    for kind in engines.MODULES:
        write = engines.start(kind, model, Path("x.gguf"))
        assert write([[5, 6], [7]], 8) == [[5, 6], [7]]
        assert write([[5, 6, 7]], 2) == [[5, 6]]
    monkeypatch.setattr(LLM, "__init__", lambda _: None)
    with pytest.raises(Skipped, match="it did not start: TypeError"):
        engines.start("vllm", model, None)


@pytest.mark.usefixtures("small_products")
def test_the_command(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = "classify,filter,complete,embed"
    call = ["bench", "--quick", "--config", "tiny", "--rounds", "1", "--only", only]
    assert main([*call, "--dtype", "float32", "--json"]) == 0
    written: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(written) == {
        *("machine", "options", "workloads", "memory", "targets", "skipped", "interrupted")
    }
    assert written["machine"]["peak_gflops"] > 0
    assert written["options"]["config"] == "tiny"
    assert written["targets"] == []  # they are about other sizes
    tables = {table["name"]: table for table in written["workloads"]}
    assert ",".join(tables) == only
    for table in tables.values():
        ours, *others = table["methods"]
        assert ours["kind"] == "sqlllm"
        assert {other["kind"] for other in others} >= {"rows", "static"}
        for method in table["methods"]:
            assert method["rows_per_second"] > 0
            assert method["tokens_per_second"] > method["rows_per_second"]
            assert 0 < method["sol"] < 1.2
            assert method["peak_mb"] >= 0
        assert all(other["times_median"] > 0 for other in others)
    facts = tables["classify"]["facts"]
    assert (facts["instruction_tokens"], facts["row_tokens"]) == (128, 24)
    for name in ("classify", "filter"):
        agreed = kind(tables[name], "static")["agreement"]
        assert agreed["equal_labels"] == 1
        assert agreed["largest_probability_difference"] < 1e-4
    assert kind(tables["complete"], "static")["agreement"]["equal_texts"] == 1
    assert tables["embed"]["methods"][0]["agreement"]["cosine_min"] > 0.999999


def kind(table: dict[str, Any], name: str) -> dict[str, Any]:
    return next(method for method in table["methods"] if method["kind"] == name)


@pytest.mark.usefixtures("small_products")
def test_ctrl_c_keeps_what_was_measured(smollm2: Path) -> None:
    def say(line: str) -> None:
        if line.startswith("filter: round"):
            raise KeyboardInterrupt

    chosen = Options(
        config="tiny", quick=True, only=["classify", "filter"], baselines=[], dtype="float32"
    )
    found = run(chosen, say)
    assert found.interrupted
    assert [table.name for table in found.tables] == ["classify", "filter"]
    (classify,) = found.to_dict()["workloads"]  # filter has no figures yet
    assert [method["name"] for method in classify["methods"]] == ["ai.classify"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "clasify"], "did you mean `classify`?"),
        (["--baselines", "rows,vlm"], "did you mean `vllm`?"),
        (["--rows", "0"], "above 0"),
        (["--json", "--markdown"], "not allowed with"),
    ],
)
def test_wrong_options(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "tinny"], "did you mean `tiny`?"),
        (["--config", __file__], "is not JSON"),
        (["--model", "smolm2"], "did you mean `smollm2`?"),
        (["--embed-model", "mini"], "did you mean `minilm`?"),
        (["--memory-model", "smolm2"], "did you mean `smollm2`?"),
        (["--memory-model", "minilm"], "is an embedding model"),
        (["--gguf", "nowhere.gguf"], "there is no file"),
    ],
)
def test_wrong_names_are_refused_at_once(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "measuring" not in error
