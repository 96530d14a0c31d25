"""What options of several commands share: default models, and numbers."""

from __future__ import annotations

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--model` and `--embed-model`."""
    parser.add_argument(
        "--model",
        help="default model for everything but embeddings: a name, or a URI such as hf:<folder>",
    )
    parser.add_argument("--embed-model", help="default model for embeddings, likewise")


def settings(given: argparse.Namespace) -> dict[str, Any]:
    """Those of them that were given, as `connect` takes them."""
    said = {"model": given.model, "embed_model": given.embed_model}
    return {name: value for name, value in said.items() if value is not None}


def count(text: str) -> int:
    """A number of rows, days and the like.

    Raises:
        argparse.ArgumentTypeError: It is none, or 0.
    """
    if not text.isdecimal() or not int(text):
        msg = f"must be a whole number above 0, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)
