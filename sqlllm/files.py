"""Files that are there whole or not at all, and that are refused before anything is asked."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlllm.errors import ConfigError


def check(path: Path, what: str, **others: str | Path) -> None:
    """Refuse what can't be written, or would be lost.

    Args:
        path: The file.
        what: What it is to be, for the message: `report`.
        **others: Files that it must not be, by what they are: `database`.

    Raises:
        ConfigError: There is a folder, a device or a database, or no folder to write in.
    """
    for name, other in others.items():
        if os.path.realpath(path) == os.path.realpath(other):
            msg = f"the {what} {str(path)!r} would replace the {name}"
            raise ConfigError(msg, hint="name another file")
    if _is_database(path):
        msg = f"the {what} {str(path)!r} would replace a database"
        raise ConfigError(msg, hint="name another file, or remove that one")
    if path.is_dir():
        msg = f"the {what} {str(path)!r} is a folder"
        raise ConfigError(msg, hint=f"name a file in it, such as {str(path / what)!r}")
    if path.exists() and not path.is_file():
        msg = f"the {what} {str(path)!r} is no file"
        raise ConfigError(msg, hint="name a file; it is replaced when all is done")
    folder = where(path).parent
    if not folder.is_dir():
        msg = f"there is no folder {str(folder)!r} for the {what}"
        raise ConfigError(msg, hint=f"make it, or write the {what} elsewhere")
    if not os.access(folder, os.W_OK):
        msg = f"the folder {str(folder)!r} of the {what} can't be written"
        raise ConfigError(msg, hint=f"make it writable, or write the {what} elsewhere")


def _is_database(path: Path) -> bool:
    """Whether there is a file of DuckDB's or SQLite's."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:  # nobody may read it
        return False
    return head[8:12] == b"DUCK" or head.startswith(b"SQLite format 3")


def where(path: Path) -> Path:
    """The file itself, where the path is a link to it."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def part_of(path: Path) -> Path:
    """Where what takes the file's place is written: beside it, in a folder that `begin` makes.

    Nobody else can look into that: the rights of the file itself come with its name.
    """
    path = where(path)
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part") / "part"


def begin(part: Path) -> None:
    """Make a part's folder, if it isn't there."""
    part.parent.mkdir(mode=0o700, exist_ok=True)


def put(part: Path, path: Path) -> None:
    """Let a part take the file's place, with the rights that the file had."""
    path = where(path)
    with suppress(OSError):  # there is none yet, or the folder's system has no rights
        shutil.copymode(path, part)
    part.replace(path)
    remove(part)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """What is written there takes the file's place in the end; of what fails, nothing is left."""
    part = part_of(path)
    begin(part)
    try:
        yield part
        if part.exists():
            put(part, path)
    finally:
        remove(part)


def remove(part: Path) -> None:
    """A part that may be gone, or be where nothing can be removed; no error for it."""
    with suppress(OSError):
        part.unlink(missing_ok=True)
        part.parent.rmdir()
