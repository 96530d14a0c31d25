"""sql/README.md is what the files beside it say."""

from __future__ import annotations

import re
from pathlib import Path

from sqlllm.cli.functions import listed, reference

WRITTEN = Path(__file__).parent.parent / "sqlllm" / "sql" / "README.md"


def test_the_reference_is_written_from_the_files() -> None:
    text = WRITTEN.read_text(encoding="utf-8")
    without_results = re.sub(r"```text\n.*?\n```\n\n?", "", text, flags=re.DOTALL)
    assert without_results == reference(None), "run `make reference`"
    assert text.count("```text") == sum(bool(each.arguments) for each in listed())
