"""The audit log: one line of JSON for every input that was sent to a model."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlllm.errors import SqlllmError, StorageError
from sqlllm.runtime.asking import Asking
from sqlllm.settings import Settings

Outcome = SqlllmError | str
"""Why there is no answer, or `ok`, or `unknown` of an input that may have been sent."""

BEGIN = b'{"time": "'
"""How such a file begins."""


@dataclass(frozen=True, slots=True)
class Audit:
    """A file that is only appended to, by any number of processes.

    A batch is one write, so that lines never mix. What can't be written stops the query: an audit
    with gaps is none.
    """

    path: Path | None
    texts: bool

    @classmethod
    def of(cls, settings: Settings) -> Audit:
        """The audit log of these settings."""
        given = settings.audit_log
        return cls(Path(given) if given else None, settings.audit_texts)

    @property
    def is_foreign(self) -> bool:
        """Whether there is a file that is no audit log, such as one whose name was mistaken."""
        if self.path is None:
            return False
        try:
            if not self.path.is_file():
                return False
            with self.path.open("rb") as file:
                return file.read(len(BEGIN)) not in (b"", BEGIN)
        except OSError:  # a file that may only grow
            return False

    def check(self) -> None:
        """Refuse to send anything that could not be noted.

        Raises:
            StorageError: The file can't be written, or is none of ours.
        """
        if self.is_foreign:
            msg = f"{self.path} is no audit log, and is left as it is"
            raise StorageError(msg, hint="name another file by audit_log, or move this one away")
        if self.path is not None:
            self._append(b"")

    def write(
        self,
        asking: Asking,
        session: str,
        run: str | None,
        sent: Sequence[tuple[str, Outcome]],
    ) -> None:
        """Note inputs and what became of them.

        Raises:
            StorageError: The file can't be written.
        """
        if self.path is None or not sent:
            return
        whole = {
            "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "session": session,
            "run": run,
            "user": _user(),
            "function": asking.caller.function,
            "model": asking.model.name,
            "fingerprint": asking.model.fingerprint,
            "task": asking.task.key.hex(),
        }
        lines = [json.dumps(whole | self._input(text, outcome)) for text, outcome in sent]
        self._append("".join(f"{line}\n" for line in lines).encode())

    def _input(self, text: str, outcome: Outcome) -> dict[str, str]:
        found = {"input": "blake2b:" + hashlib.blake2b(text.encode(), digest_size=32).hexdigest()}
        if self.texts:
            found["text"] = text
        failed = isinstance(outcome, SqlllmError)  # its message may quote the text
        return found | {"outcome": type(outcome).__name__ if failed else str(outcome)}

    def _append(self, data: bytes) -> None:
        assert self.path is not None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                written = os.write(file, data) if data else 0
                if 0 < written < len(data):
                    _take_back(file, written)
            finally:
                os.close(file)
        except OSError as error:
            raise self._failed(str(error)) from error
        if written < len(data):
            msg = f"{written} of {len(data)} bytes were written"
            raise self._failed(msg)

    def _failed(self, why: str) -> StorageError:
        return StorageError(
            f"the audit log {self.path} can't be written: {why}",
            hint="no model is asked without it: make room for it, or change audit_log",
        )


def _take_back(file: int, written: int) -> None:
    """Remove what was written in part, unless others have written since: their lines are whole."""
    end = os.lseek(file, 0, os.SEEK_CUR)
    if os.fstat(file).st_size == end:
        with suppress(OSError):  # a device, or a file that may only grow
            os.ftruncate(file, end - written)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return str(os.getuid())
