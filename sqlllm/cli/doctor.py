"""`sqlllm doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlllm.cli import output

if TYPE_CHECKING:
    from sqlllm.doctor import Finding

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
NAME = 23  # characters

CODES = """\
exit codes:
  0  all that is needed is there; warnings don't count
  1  there is a problem
"""


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "doctor",
        help="check versions, device, models, settings, files and speed",
        description="Says what is here, what is missing, and what to do. Nothing is changed.",
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.add_argument(
        "--no-speed", "--quick", action="store_true", help="don't measure, which takes some seconds"
    )
    parser.set_defaults(run=doctor)


def doctor(given: argparse.Namespace) -> int:
    """Run it; 1 where there is a problem."""
    from sqlllm.doctor import examine

    findings = examine(measure=not given.no_speed)
    if given.json:
        shown = list(findings)
        status = worst(shown)
        print(json.dumps({"status": status, "findings": [asdict(f) for f in shown]}, indent=1))
    else:
        status = _told(findings)
    return 1 if status == "problem" else 0


def worst(findings: Iterable[Finding]) -> str:
    """`problem`, `warning` or `ok`."""
    found = {finding.status for finding in findings}
    return next((status for status in ("problem", "warning") if status in found), "ok")


def _told(findings: Iterable[Finding]) -> str:
    """Print each finding as it comes."""
    from rich.console import Console
    from rich.text import Text

    console = Console(width=max(output.width() or 80, 40), highlight=False)
    section, told = "", []
    for finding in findings:
        if finding.section != section:
            section = finding.section
            console.print(Text(section, "bold"))
        told.append(finding)
        mark = Text(f"  {finding.status:8}", STYLES[finding.status])
        name, *more = _lines(finding, console.width - 10)
        console.print(mark + Text(name), soft_wrap=True)
        for line in more:
            console.print(Text(" " * 10 + line), soft_wrap=True)
        if finding.fix:
            console.print(Text(f"{'':10}{'':{NAME}}→ {finding.fix}", "cyan"), soft_wrap=True)
    counts = {s: sum(f.status == s for f in told) for s in ("problem", "warning")}
    console.print(", ".join(f"{n} {s}{'' if n == 1 else 's'}" for s, n in counts.items()))
    return worst(told)


def _lines(finding: Finding, width: int) -> list[str]:
    """The name, and beside it what was found."""
    found = textwrap.wrap(
        finding.found, width - NAME, break_long_words=False, break_on_hyphens=False
    ) or [""]
    return [f"{finding.name if not i else '':{NAME}}{line}" for i, line in enumerate(found)]
