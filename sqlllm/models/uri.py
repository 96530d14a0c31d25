"""What settings call a model: `hf:models/mine`, `smollm2:?dtype=int8`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlllm.errors import ConfigError, ModelMissing, did_you_mean
from sqlllm.models.pull import ON_A_HUB, hub_folder, smollm2_folder

DTYPES = ("float32", "bfloat16", "float16", "int8")
"""In which precision a model can be asked to run."""


@dataclass(frozen=True, slots=True)
class Uri:
    """A model's URI, `scheme:place?dtype=...`, in parts.

    Attributes:
        scheme: One of `SCHEMES`.
        place: For `hf`, a local folder, or `owner/name` of a model that was pulled; else empty.
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
        name, asked, option = uri.partition("?")
        scheme, _, place = name.partition(":")
        if scheme not in SCHEMES:
            msg = f"unknown kind of model {uri!r}"
            folder = not place and ("/" in name or Path(name).is_dir())
            hint = f"a folder is `hf:{name}`" if folder else did_you_mean(scheme, SCHEMES)
            raise ConfigError(msg, hint=hint)
        if scheme == "hf" and not place:
            msg = f"model {uri!r} has no folder"
            raise ConfigError(msg, hint="such as hf:models/my-model")
        if scheme != "hf" and place:
            msg = f"unknown model {uri!r}"
            raise ConfigError(msg, hint=f"there is one {scheme}, `{scheme}:`")
        if not asked:
            return cls(scheme, place)
        key, _, dtype = option.partition("=")
        if key != "dtype":
            msg = f"unknown option {key!r} of model {uri!r}"
            raise ConfigError(msg, hint="behind the ? there can be dtype=, nothing else")
        if dtype not in DTYPES:
            msg = f"unknown dtype {dtype!r} of model {uri!r}"
            raise ConfigError(msg, hint=did_you_mean(dtype, DTYPES))
        return cls(scheme, place, dtype)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.place}" + (f"?dtype={self.dtype}" if self.dtype else "")

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

    def there(self) -> Path:
        """The same, with a model in it.

        Raises:
            ModelMissing: There is none.
        """
        folder = self.folder()
        # Some of sentence-transformers' models have their configuration in a folder below.
        if any((folder / name).is_file() for name in ("config.json", "modules.json")):
            return folder
        if folder.is_dir():
            msg = f"there is no model in {folder}"
            raise ModelMissing(msg, hint="a model's folder has a config.json")
        if not ON_A_HUB.fullmatch(self.place):
            msg = f"there is no folder {folder}"
            raise ModelMissing(msg, hint=f"correct the model's URI, `{self.pulled_as}`")
        msg = f"there is no folder {self.place}, and model {self.pulled_as!r} was not pulled"
        raise ModelMissing(msg, hint=f"run `sqlllm pull {self.pulled_as}`")


def _minilm(_: str) -> Path:
    from sqlllm.models.sentence import minilm_folder

    return minilm_folder()


def _hf(place: str) -> Path:
    local = Path(place).expanduser()
    return hub_folder(place) if ON_A_HUB.fullmatch(place) and not local.is_dir() else local


SCHEMES: Mapping[str, Callable[[str], Path]] = {
    "minilm": _minilm,
    "smollm2": lambda _: smollm2_folder(),
    "hf": _hf,
}
"""What a URI begins with -> where the model's files are."""
