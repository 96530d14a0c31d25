"""Causal language models on transformers: complete, and choose by scoring the labels."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sqlllm.errors import InputTooLong, ModelMissing, SqlllmError, excerpt
from sqlllm.models.base import Batch, Model

if TYPE_CHECKING:
    from sqlllm.task import Task

MAX_TOKENS = 256  # of a completion, unless the call says otherwise
MARK, SYSTEM = "\ue000", "\ue001"  # stand for the user's turn and the system's in the template


class CausalModel(Model):
    """A language model from a local folder, with safetensors weights and no remote code.

    Texts, instructions and labels are tokenised with special tokens disabled: `<|im_end|>` in a
    row is a few harmless tokens and never the end of the user's turn.

    `choose` is a forward pass, not text: a label's score is the mean log-probability of its
    tokens after the prompt; the probabilities are the softmax of the scores.

    Args:
        folder: A folder that transformers can load.
        dtype: `float32` or `bfloat16`; None: bfloat16 where the hardware multiplies it natively
            (2.1 to 2.4 times faster on a Zen 4 core), else float32.
        place: What the user called the folder, for the message if it is not there.
    """

    about: ClassVar[str] = "language model on torch: text; labels and yes/no by scoring"

    def __init__(
        self, folder: str | Path, *, dtype: str | None = None, place: str | None = None
    ) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = Path(folder)
        if not (path / "config.json").is_file():
            place = place or str(folder)
            msg = f"model 'hf:{place}' is not on this machine"
            raise ModelMissing(msg, hint=f"run `sqlllm pull hf:{place}`, or name a local folder")
        cuda = torch.cuda.is_available()
        precision = dtype or ("bfloat16" if cuda or _native_bf16(torch) else "float32")
        self._torch: Any = torch
        self._device = "cuda" if cuda else "cpu"
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, precision),
        )
        self._model.to(self._device).eval()
        self._lock = threading.Lock()  # one batch at a time: torch uses all cores for each
        self._ends = _ids(self._model.generation_config.eos_token_id)
        self.window: int = self._model.config.max_position_embeddings
        self._budget = 65536 if cuda else 4096
        digest = hashlib.blake2b(digest_size=8)
        for weights in sorted(path.glob("*.safetensors")):
            with weights.open("rb") as file:
                while chunk := file.read(1 << 24):
                    digest.update(chunk)
        self.fingerprint = f"causal:{digest.hexdigest()}:{precision}"

    def complete(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Greedy text, or sampled with a seed per row when `task.temperature` is above 0."""
        room = task.max_tokens or MAX_TOKENS
        prompts, errors = self._prompts(task, inputs, "", room)
        if errors:
            yield Batch([], [], errors)
        for rows in self._batches(prompts, room):
            with self._lock, self._torch.inference_mode():
                written = self._decode([prompts[row] for row in rows], task, room, rows, inputs)
            texts = [
                _cut(self._tokenizer.decode(w, skip_special_tokens=True), task) for w in written
            ]
            yield Batch(
                rows,
                texts,
                prompt_tokens=sum(len(prompts[row]) for row in rows),
                completion_tokens=sum(len(w) for w in written),
            )

    def choose(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Softmax over the labels' mean log-probabilities."""
        labels = [self._encode(label) for label in task.labels]
        longest = max(len(label) for label in labels)
        prompts, errors = self._prompts(task, inputs, _question(task), longest)
        if errors:
            yield Batch([], self._torch.zeros(0, len(labels)).numpy(), errors)
        copies = 1 if longest == 1 else len(labels)
        for rows in self._batches(prompts, longest, copies):
            with self._lock, self._torch.inference_mode():
                scores = self._score([prompts[row] for row in rows], labels)
            yield Batch(
                rows,
                scores.softmax(-1).float().cpu().numpy(),
                prompt_tokens=sum(len(prompts[row]) for row in rows),
            )

    def count_tokens(self, inputs: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(self._encode(text)) for text in inputs]

    def _encode(self, text: str, *, special: bool = False) -> list[int]:
        ids: list[int] = self._tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=not special, verbose=False
        )
        return ids

    def _prompts(
        self, task: Task, inputs: Sequence[str], question: str, room: int
    ) -> tuple[dict[int, list[int]], dict[int, SqlllmError]]:
        """Token ids by row, and the rows that are too long."""
        turns = [{"role": "user", "content": MARK}]
        if task.system:
            turns.insert(0, {"role": "system", "content": SYSTEM})
        if self._tokenizer.chat_template:
            text = self._tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        else:
            text = "\n\n".join([*(turn["content"] for turn in turns), ""])
        before, _, after = text.partition(MARK)
        start, _, between = before.partition(SYSTEM)
        head = self._encode(start, special=True)
        if task.system:
            head += self._encode(task.system) + self._encode(between, special=True)
        head += self._encode(question)
        tail = self._encode(after, special=True)
        free = self.window - len(head) - len(tail) - room
        prompts: dict[int, list[int]] = {}
        errors: dict[int, SqlllmError] = {}
        for row, text in enumerate(inputs):
            body = self._encode(text)
            if len(body) > free and not task.truncate:
                errors[row] = InputTooLong(
                    f"the text {excerpt(text)} has {len(body)} tokens; "
                    f"model {self.name!r} has room for {max(free, 0)} here",
                    hint="add `truncate := true` to read only its beginning",
                )
            else:
                prompts[row] = head + body[: max(free, 0)] + tail
        return prompts, errors

    def _batches(
        self, prompts: dict[int, list[int]], room: int, copies: int = 1
    ) -> Iterator[list[int]]:
        """Rows of similar length, within the budget of padded tokens."""
        batch: list[int] = []
        for row in sorted(prompts, key=lambda row: len(prompts[row])):
            padded = (len(prompts[row]) + room) * copies
            if batch and padded * (len(batch) + 1) > self._budget:
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _score(self, prompts: list[list[int]], labels: list[list[int]]) -> Any:
        """Mean log-probability of each label after each prompt, shape (prompts, labels)."""
        torch = self._torch
        if all(len(label) == 1 for label in labels):
            return self._score_tokens(prompts, [label[0] for label in labels])
        pairs = [(p, label) for p in prompts for label in labels]
        width = max(len(p) + len(label) for p, label in pairs)
        ids = torch.zeros(len(pairs), width, dtype=torch.long)
        for i, (p, label) in enumerate(pairs):
            ids[i, : len(p) + len(label)] = torch.tensor(p + label)
        # Padding is on the right: causal attention never looks at it, so no mask is needed.
        hidden = self._model.model(input_ids=ids.to(self._device), use_cache=False)[0]
        scores = []
        for i, (p, label) in enumerate(pairs):
            at = slice(len(p) - 1, len(p) + len(label) - 1)
            logits = self._model.lm_head(hidden[i, at]).float().log_softmax(-1)
            want = torch.tensor(label, device=logits.device)[:, None]
            scores.append(logits.gather(1, want).mean())
        return torch.stack(scores).view(len(prompts), len(labels))

    def _score_tokens(self, prompts: list[list[int]], tokens: list[int]) -> Any:
        """As `_score` for labels of one token: each prompt is read once."""
        torch = self._torch
        ids = torch.zeros(len(prompts), max(len(p) for p in prompts), dtype=torch.long)
        for i, p in enumerate(prompts):
            ids[i, : len(p)] = torch.tensor(p)
        hidden = self._model.model(input_ids=ids.to(self._device), use_cache=False)[0]
        last = hidden[torch.arange(len(prompts)), torch.tensor([len(p) - 1 for p in prompts])]
        # Only the labels' rows of the output matrix: the rest cancels in the softmax. In float32:
        # bfloat16 logits are multiples of 1/8 and tie.
        return last.float() @ self._model.lm_head.weight[tokens].float().T

    def _decode(
        self,
        prompts: list[list[int]],
        task: Task,
        room: int,
        rows: list[int],
        inputs: Sequence[str],
    ) -> list[list[int]]:
        """Tokens written after each prompt, without the end token."""
        torch = self._torch
        width = max(len(p) for p in prompts)
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, p in enumerate(prompts):
            ids[i, width - len(p) :] = torch.tensor(p)
            mask[i, width - len(p) :] = 1
        ids, mask = ids.to(self._device), mask.to(self._device)
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        draws = [_generator(torch, task, inputs[row]) for row in rows]
        written: list[list[int]] = [[] for _ in prompts]
        open_rows = set(range(len(prompts)))
        past = None
        for _ in range(room):
            out = self._model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=places,
                past_key_values=past,
                use_cache=True,
                logits_to_keep=1,
            )
            past = out.past_key_values
            chosen = _pick(torch, out.logits[:, -1].float(), task.temperature, draws)
            for i, token in enumerate(chosen.tolist()):
                if i not in open_rows:
                    continue
                if token in self._ends:
                    open_rows.discard(i)
                    continue
                written[i].append(token)
                if task.stop and any(s in self._tokenizer.decode(written[i]) for s in task.stop):
                    open_rows.discard(i)
            if not open_rows:
                break
            ids, places = chosen[:, None], places[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
        return written


def _native_bf16(torch: Any) -> bool:
    """Whether this CPU multiplies bfloat16; False where torch is too old to say."""
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _question(task: Task) -> str:
    """What comes before the row's text."""
    if task.yes_no:
        return f"Answer yes or no. {task.instruction}\n\nText: "
    lines = [task.instruction or "Which label fits the text best?", "Labels:"]
    for i, label in enumerate(task.labels):
        lines.append(f"- {label}: {task.descriptions[i]}" if task.descriptions else f"- {label}")
    lines += [f"Text: {text}\nLabel: {label}" for text, label in task.examples]
    return "\n".join([*lines, "Answer with the label alone.", "", "Text: "])


def _cut(text: str, task: Task) -> str:
    """The text up to the first stop string."""
    ends = [at for stop in task.stop if (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def _generator(torch: Any, task: Task, text: str) -> Any:
    """Random numbers decided by the seed and the row alone, whatever the batch."""
    digest = hashlib.blake2b(f"{task.seed}\0{text}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def _pick(torch: Any, logits: Any, temperature: float, draws: list[Any]) -> Any:
    if not temperature:
        return logits.argmax(-1)
    odds = (logits / temperature).softmax(-1).cpu()
    tokens = [torch.multinomial(o, 1, generator=g) for o, g in zip(odds, draws, strict=True)]
    return torch.cat(tokens).to(logits.device)


def _ids(value: int | list[int] | None) -> frozenset[int]:
    return frozenset([value] if isinstance(value, int) else value or ())
