"""Whether the libraries are there, in versions that are supported."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from sqlllm.doctor.finding import Finding, Status

if TYPE_CHECKING:
    from packaging.requirements import Requirement

SHOWN = ("duckdb", "pyarrow", "torch", "transformers", "sentence-transformers", "sqlglot")
"""Those that get a line when all is well; the others only when it isn't."""

DEVELOPMENT = ("dev",)
"""Extras that no user needs."""


def versions() -> Iterator[Finding]:
    """Python, sqlllm, and what it can't do without."""
    import sqlllm

    values = {"version": sqlllm.__version__}
    try:
        python = metadata.metadata("sqlllm")["Requires-Python"]
    except metadata.PackageNotFoundError:
        yield Finding(
            "versions", "sqlllm", "warning", f"{sqlllm.__version__}, run without being installed",
            "pip install .  (in the folder of the source)", values,
        )  # fmt: skip
        return
    yield Finding("versions", "sqlllm", "ok", sqlllm.__version__, values=values)
    yield _python(python)
    others = 0
    for requirement in _requirements():
        finding = _checked("versions", requirement, "problem")
        if requirement.name in SHOWN or finding.status != "ok":
            yield finding
        else:
            others += 1
    yield Finding("versions", "other libraries", "ok", f"{others}, as needed")


def extras() -> Iterator[Finding]:
    """What is optional. What is absent is no fault."""
    for extra in _extras():
        fix = f"pip install 'sqlllm[{extra}]'"
        found = [_checked("extras", each, "warning") for each in _requirements(extra)]
        missing = [f.name for f in found if "version" not in f.values]
        wrong = [f"{f.name} {f.found}" for f in found if f.status != "ok" and f.name not in missing]
        have = {f.name: f.values["version"] for f in found if f.name not in missing}
        if wrong:
            yield Finding("extras", extra, "warning", "; ".join(wrong), fix, have)
        elif missing:
            text = f"not installed: {', '.join(missing)}"
            yield Finding("extras", extra, "ok", text, f"{fix}  (optional)", have)
        else:
            text = ", ".join(f"{name} {version}" for name, version in have.items())
            yield Finding("extras", extra, "ok", text, values=have)


def _python(supported: str) -> Finding:
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    if SpecifierSet(supported).contains(version, prereleases=True):
        text = f"{version} ({supported})"
        return Finding("versions", "python", "ok", text, None, {"version": version})
    return Finding(
        "versions", "python", "problem", f"{version}, needs {supported}",
        f"install Python {supported} and make a new environment", {"version": version},
    )  # fmt: skip


def _checked(section: str, requirement: Requirement, bad: Status) -> Finding:
    """One library against the range that is supported."""
    name, wanted = requirement.name, requirement.specifier
    plain = f"{name}{wanted}"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        text = f"not installed, needs {wanted or 'any version'}"
        return Finding(section, name, bad, text, f"pip install '{plain}'")
    if not wanted.contains(version, prereleases=True):
        return Finding(
            section, name, bad, f"{version}, needs {wanted}", f"pip install '{plain}'",
            {"version": version},
        )  # fmt: skip
    text = f"{version} ({wanted})" if str(wanted) else version
    return Finding(section, name, "ok", text, None, {"version": version})


def _extras() -> list[str]:
    try:
        names = metadata.metadata("sqlllm").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []
    return sorted(set(names) - set(DEVELOPMENT))


def _requirements(extra: str = "") -> list[Requirement]:
    """What sqlllm can't do without, or what an extra adds to that."""
    from packaging.requirements import Requirement

    found = [Requirement(line) for line in metadata.requires("sqlllm") or []]

    def brings(extra: str) -> list[Requirement]:
        return [r for r in found if r.marker is None or r.marker.evaluate({"extra": extra})]

    needed = brings("")
    return [r for r in brings(extra) if r not in needed] if extra else needed
