"""`sqlllm doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

from sqlllm.doctor import configured, device, kept, speed, versions
from sqlllm.doctor.finding import Finding, failed

__all__ = ["Finding", "examine"]


def examine(*, measure: bool = True) -> Iterator[Finding]:
    """All checks, one after the other; none changes anything.

    Args:
        measure: Whether to measure speed, which takes some seconds.

    Example:
        >>> statuses = {finding.status for finding in examine(measure=False)}
        >>> statuses <= {"ok", "warning", "problem"}
        True
    """
    needed = list(_safely("versions", versions.versions()))
    yield from needed
    missing = any(f.status == "problem" for f in needed)
    if not missing:  # else it would only say so again
        yield speed.query()
    yield from _safely("extras", versions.extras())
    settings, found = configured.settings()
    yield from found
    yield from _safely("device", device.device())
    models = list(_safely("models", configured.models(settings)))
    yield from models
    yield from _safely("files", kept.files(settings))
    if measure and not missing:
        at_hand = {f.name for f in models if f.status == "ok"}
        yield from _safely("speed", speed.speed(at_hand))


def _safely(section: str, checks: Iterator[Finding]) -> Iterator[Finding]:
    """What the checks find; a check that breaks is a finding as well."""
    try:
        yield from checks
    except Exception as error:
        yield failed(section, section, error)
