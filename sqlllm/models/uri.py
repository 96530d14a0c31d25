"""What settings call a model: `hf:models/mine`, `smollm2:?dtype=int8`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlllm.errors import ConfigError, did_you_mean
from sqlllm.models.pull import hub_folder, smollm2_folder

DTYPES = ("float32", "bfloat16", "float16", "int8")
"""In which precision a model can be asked to run."""


@dataclass(frozen=True, slots=True)
class Uri:
    """A model's URI, `scheme:place?dtype=...`, in parts.

    Attributes:
        scheme: One of `SCHEMES`.
        place: For `hf`, a local folder, or `owner/name` of a model that was pulled.
        dtype: One of `DTYPES`; None: what is fastest here.
    """

    scheme: str
    place: str = ""
    dtype: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Uri:
        """The parts.

        Raises:
            ConfigError: There is no such kind of model, option or dtype.

        Example:
            >>> Uri.parse("hf:models/mine?dtype=int8")
            Uri(scheme='hf', place='models/mine', dtype='int8')
        """
        scheme, colon, rest = uri.partition(":")
        if not colon or scheme not in SCHEMES:
            msg = f"unknown kind of model {uri!r}"
            raise ConfigError(msg, hint=did_you_mean(scheme, SCHEMES))
        place, asked, option = rest.partition("?")
        if not asked:
            return cls(scheme, place)
        name, _, dtype = option.partition("=")
        if name != "dtype":
            msg = f"unknown option {name!r} of model {uri!r}"
            raise ConfigError(msg, hint="behind the ? there can be dtype=, nothing else")
        if dtype not in DTYPES:
            msg = f"unknown dtype {dtype!r} of model {uri!r}"
            raise ConfigError(msg, hint=did_you_mean(dtype, DTYPES))
        return cls(scheme, place, dtype)

    @property
    def pulled_as(self) -> str:
        """What `sqlllm pull` calls it."""
        return f"{self.scheme}:{self.place}" if self.place else self.scheme

    def folder(self) -> Path:
        """Where the model's files are, or would be.

        Raises:
            ModelMissing: A model that comes with a package, or is pulled by name, isn't there.
        """
        return SCHEMES[self.scheme](self.place)


def _minilm(_: str) -> Path:
    from sqlllm.models.sentence import minilm_folder

    return minilm_folder()


def _hf(place: str) -> Path:
    return Path(place) if Path(place).is_dir() else hub_folder(place)


SCHEMES: Mapping[str, Callable[[str], Path]] = {
    "minilm": _minilm,
    "smollm2": lambda _: smollm2_folder(),
    "hf": _hf,
}
"""What a URI begins with -> where the model's files are."""
