"""The models under measurement: one that sqlllm runs, and an untouched one for the others."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sqlllm.bench.configs import config_of
from sqlllm.bench.limits import Shape
from sqlllm.engine.device import precision
from sqlllm.engine.worker import on_model_thread
from sqlllm.errors import ConfigError, UnknownModel, did_you_mean
from sqlllm.models.base import Model
from sqlllm.models.registry import BUILTIN
from sqlllm.models.uri import Uri
from sqlllm.settings import Settings, is_uri


@dataclass
class Causal:
    """A language model, once for each side.

    Attributes:
        ours: What `connect(models=...)` gets.
        tokenizer: Of both.
        shape: Its sizes.
        make: Another copy as transformers makes it, with its own attention.
        place: Where it runs.
        dtype: In which precision ours is.
        plain_dtype: In which the others are.
        folder: Its files; None for random weights.
        config: Its transformers configuration.
    """

    ours: Model
    tokenizer: Any
    shape: Shape
    make: Callable[[], Any]
    place: str
    dtype: str
    plain_dtype: str
    folder: Path | None
    config: Any

    @cached_property
    def plain(self) -> Any:
        """The copy that the baselines use."""
        return self.make()

    @cached_property
    def ends(self) -> list[int]:
        """Tokens that end an answer."""
        ends = self.plain.generation_config.eos_token_id
        return [ends] if isinstance(ends, int) else list(ends or ())

    @property
    def notes(self) -> list[str]:
        """What a reader of its figures has to know."""
        if self.dtype == self.plain_dtype:
            return []
        return [
            f"ours in {self.dtype}, whose peak every MFU and SOL is against; the others in "
            f"{self.plain_dtype}"
        ]

    @cached_property
    def files(self) -> Path:
        """A folder for engines that load one; without weights where they are random."""
        if self.folder is not None:
            return self.folder
        folder = Path(tempfile.mkdtemp(prefix="sqlllm-bench-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return folder


@dataclass
class Sentence:
    """An embedding model, once for each side."""

    ours: Model
    tokenizer: Any
    shape: Shape
    folder: Path
    place: str
    dtype: str

    def encoder(self, dtype: str) -> Any:
        """A `SentenceTransformer` in that precision."""
        import torch
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(
            str(self.folder), local_files_only=True, trust_remote_code=False, device=self.place
        )
        return model.to(getattr(torch, dtype)).eval()


def language_folder(name: str) -> Path:
    """Where the files of a language model are.

    Raises:
        ModelMissing: Nowhere.
        ConfigError: It makes vectors.
    """
    folder = folder_of(name)
    if (folder / "modules.json").is_file():
        msg = f"model {name!r} is an embedding model"
        raise ConfigError(msg, hint="name a language model, or give it as --embed-model")
    return folder


def causal(name: str, place: str, dtype: str) -> Causal:
    """The model that SQL calls `name`, or `hf:<folder>`."""
    from transformers import AutoConfig, AutoTokenizer

    from sqlllm.models.causal import CausalModel

    folder = language_folder(name)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    plain = _plain(dtype, place)
    return Causal(
        ours=on_model_thread(partial(CausalModel, folder, dtype=dtype)),
        tokenizer=AutoTokenizer.from_pretrained(folder, local_files_only=True),
        shape=_shape(config, dtype),
        make=lambda: _loaded(folder, place, plain),
        place=place,
        dtype=dtype,
        plain_dtype=plain,
        folder=folder,
        config=config,
    )


def random_causal(given: str, place: str, dtype: str) -> Causal:
    """Random weights in a given shape, always the same ones; smollm2's tokenizer.

    Args:
        given: A name of `CONFIGS`, or a `config.json` of transformers.
        place: `cpu`, `cuda` or `mps`.
        dtype: One of `models.uri.DTYPES`.
    """
    from transformers import AutoTokenizer

    from sqlllm.models.causal import CausalModel
    from sqlllm.models.pull import smollm2_folder

    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder(), local_files_only=True)
    config = config_of(given, tokenizer)
    plain = _plain(dtype, place)
    return Causal(
        ours=on_model_thread(
            lambda: CausalModel.of(
                _filled(config, place, plain),
                tokenizer,
                fingerprint=f"random:{given}:{dtype}",
                in_int8=dtype == "int8",
            )
        ),
        tokenizer=tokenizer,
        shape=_shape(config, dtype),
        make=lambda: _filled(config, place, plain),
        place=place,
        dtype=dtype,
        plain_dtype=plain,
        folder=None,
        config=config,
    )


def sentence(name: str, place: str, dtype: str) -> Sentence:
    """The embedding model that SQL calls `name`, or `hf:<folder>`."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from sqlllm.models.sentence import SentenceModel

    folder = folder_of(name)
    if not (folder / "modules.json").is_file():
        msg = f"model {name!r} is not an embedding model on this machine"
        raise ConfigError(msg, hint="name `minilm`, or hf:<folder> of such a model")
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    return Sentence(
        ours=on_model_thread(partial(SentenceModel, folder, dtype=dtype)),
        tokenizer=AutoTokenizer.from_pretrained(folder, local_files_only=True),
        shape=_shape(config, dtype, auto=AutoModel, causal=False),
        folder=folder,
        place=place,
        dtype=dtype,
    )


def folder_of(name: str) -> Path:
    """Where the files of a model are that SQL can name, or of a URI."""
    return uri_of(name).there()


def uri_of(name: str) -> Uri:
    """The URI of a model that SQL can name, or that is one.

    Raises:
        UnknownModel: It is neither.
        ConfigError: There is no such kind of model.
    """
    known = {**BUILTIN, **Settings.load().models}
    uri = known.get(name, name if is_uri(name) else None)
    if not isinstance(uri, str):
        msg = f"unknown model {name!r}"
        raise UnknownModel(msg, hint=did_you_mean(name, known))
    return Uri.parse(uri)


def _plain(dtype: str, place: str) -> str:
    """The precision of transformers' own model beside ours: it has no int8."""
    return precision(place) if dtype == "int8" else dtype


def _shape(config: Any, dtype: str, *, auto: Any = None, causal: bool = True) -> Shape:
    """From a model without memory: counting modules needs no weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = (auto or AutoModelForCausalLM).from_config(config, dtype=torch.float32)
    return Shape.of(model, getattr(torch, dtype).itemsize, causal=causal)


def _loaded(folder: Path, place: str, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=getattr(torch, dtype),
        attn_implementation="sdpa",
    )
    return model.to(place).eval()


def _filled(config: Any, place: str, dtype: str) -> Any:
    """Made in its precision on its device: 7B parameters in float32 would not fit twice."""
    import copy

    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(place):
        # A copy: a model keeps its configuration, and two must not share the attention's name.
        model = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), dtype=getattr(torch, dtype), attn_implementation="sdpa"
        )
    return model.eval()
