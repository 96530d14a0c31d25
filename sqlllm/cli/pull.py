"""`sqlllm pull`: a model's files."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("pull", help="fetch a model into the cache folder")
    parser.add_argument("model", help="smollm2, minilm or hf:<owner>/<name>")
    parser.set_defaults(run=pull)


def pull(given: argparse.Namespace) -> None:
    """Fetch them."""
    from sqlllm.models.pull import pull as fetch

    fetch(given.model, lambda line: print(line, file=sys.stderr))
