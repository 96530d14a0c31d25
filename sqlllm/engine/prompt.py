"""Token ids around a row's text, made once per task.

Only the chat template's own pieces may hold special tokens. Texts, instructions and labels are
tokenised with special tokens disabled: `<|im_end|>` in a row is a few harmless tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlllm.errors import ModelError
from sqlllm.locks import own_lock

if TYPE_CHECKING:
    from sqlllm.task import Task

TEXT, SYSTEM = "\ue000", "\ue001"  # stand for the texts while the chat template is rendered


# A tokenizer keeps `split_special_tokens` as state between the call and its work: without this,
# a thread that reads a template could let through another thread's row with special tokens.
_ENCODING = own_lock()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What comes before and after each row's text."""

    head: tuple[int, ...]
    tail: tuple[int, ...]


def encode(tokenizer: Any, text: str, *, special: bool = False) -> list[int]:
    """Token ids of `text`; `special` lets it hold special tokens."""
    with _ENCODING:
        ids: list[int] = tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=not special, verbose=False
        )
    return ids


def encode_all(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of many texts, on all cores."""
    if not texts:
        return []
    with _ENCODING:
        found = tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            verbose=False,
        )
    ids: list[list[int]] = found["input_ids"]
    return ids


def prompt_of(tokenizer: Any, task: Task) -> Prompt:
    """What stands around each row's text when a task is asked.

    Raises:
        ModelError: The model's chat template refuses a user's message, or leaves it out.
    """
    from jinja2 import TemplateError

    try:
        if task.kind == "choose":
            return choice_prompt(tokenizer, task)
        if task.kind == "extract":
            return extraction_prompt(tokenizer, task)
        parts = [*([task.system] if task.system else []), *([form_of(task)] if task.schema else [])]
        return completion_prompt(tokenizer, "\n\n".join(parts), text_first=task.text_first)
    except TemplateError as error:
        msg = f"the model's chat template can't write a prompt: {error}"
        raise ModelError(msg, hint="correct the chat template in the model's folder") from error


def completion_prompt(tokenizer: Any, system: str, *, text_first: bool = False) -> Prompt:
    """A conversation of one turn: the row is the user's message.

    Where a chat template refuses a system message (Gemma) or leaves it out (Phi-3), it begins the
    user's. With the text first, it ends it: the text then stands where it stands in all prompts
    that begin with it.
    """
    from jinja2 import TemplateError

    if system and text_first:
        return _prompt(tokenizer, system, "", text_first=True)

    turn = {"role": "user", "content": TEXT}
    turns = [{"role": "system", "content": SYSTEM}, turn] if system else [turn]
    try:
        text = _render(tokenizer, turns)
    except TemplateError:
        text = _render(tokenizer, [{"role": "user", "content": f"{SYSTEM}\n\n{TEXT}"}])
    before, _, after = text.partition(TEXT)
    start, _, between = before.partition(SYSTEM)
    head = encode(tokenizer, start, special=True)
    if system:
        head += encode(tokenizer, system) + encode(tokenizer, between, special=True)
    return Prompt(tuple(head), tuple(encode(tokenizer, after, special=True)))


def choice_prompt(tokenizer: Any, task: Task) -> Prompt:
    """Question and labels, then the row, then `Answer:`, so that a label comes next.

    The question comes first, so that its keys and values serve every row. There is no system
    message: with SmolLM2's default one, P(yes) for "Is the review positive?" separates reviews
    with an AUC of 0.57, without it 0.77.
    """
    return _prompt(tokenizer, question(task), "Answer:", text_first=task.text_first)


def extraction_prompt(tokenizer: Any, task: Task) -> Prompt:
    """Schema, then the row, then `JSON:`."""
    wanted = task.instruction or "What does the text say?"
    if not task.instruction and not task.shown:
        wanted += " Write null for what it doesn't say."
    asked = f"{wanted}\n{form_of(task)}"
    return _prompt(tokenizer, asked, "JSON:\n", text_first=task.text_first)


def _prompt(tokenizer: Any, asked: str, begun: str, *, text_first: bool) -> Prompt:
    """A user's turn of question and text, and how the answer to it begins.

    With the text first, the head is the same for all questions.
    """
    before, _, after = _turn(tokenizer).partition(TEXT)
    head, tail = encode(tokenizer, before, special=True), encode(tokenizer, after, special=True)
    if text_first:
        head += encode(tokenizer, "Text: ")
        tail = encode(tokenizer, f"\n\n{asked}") + tail
    else:
        head += encode(tokenizer, f"{asked}\n\nText: ")
    return Prompt(tuple(head), (*tail, *encode(tokenizer, begun)))


def form_of(task: Task) -> str:
    """What tells a model the form of its answer."""
    if task.shown:
        nulls = "Write null for what is not said."
        return f"Answer with JSON of this form. {nulls}\n{task.shown}"
    return f"Answer with JSON of this JSON Schema:\n{task.schema}"


def answers(task: Task) -> list[str]:
    """What is scored after `Answer:`, one per label."""
    return [" Yes", " No"] if task.yes_no else [f" {label}" for label in task.labels]


def question(task: Task) -> str:
    """What is asked about the row's text.

    Example:
        >>> from sqlllm.task import Task
        >>> question(Task("choose", labels=("bug", "question"), descriptions=("it fails", "")))
        'Question: Which label fits the text best?\\nLabels:\\n- bug: it fails\\n- question'
    """
    if task.yes_no:
        return f"Question: {task.instruction}"
    lines = [f"Question: {task.instruction or 'Which label fits the text best?'}", "Labels:"]
    for i, label in enumerate(task.labels):
        about = task.descriptions[i] if task.descriptions else ""
        about = about or ("none of the others" if label == task.none_of_these else "")
        lines.append(f"- {label}: {about}" if about else f"- {label}")
    other = "\nAnother text" if task.text_first else "\nText"
    lines += [f"{other}: {text}\nAnswer: {label}" for text, label in task.examples]
    return "\n".join(lines)


def _turn(tokenizer: Any) -> str:
    """A user's turn without the system message that some templates add by themselves.

    It is what the template adds to a conversation for one more turn.
    """
    past = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    turn = {"role": "user", "content": TEXT}
    first = _render(tokenizer, [turn])
    if not tokenizer.chat_template:
        return first
    before = tokenizer.apply_chat_template(past, tokenize=False, add_generation_prompt=False)
    both = _render(tokenizer, [*past, turn])
    if not both.startswith(before):
        return first  # this template changes past turns
    text = both[len(before) :]
    begin = tokenizer.bos_token or ""
    return text if not first.startswith(begin) or text.startswith(begin) else begin + text


def _render(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    if not tokenizer.chat_template:
        return "\n\n".join([*(turn["content"] for turn in turns), ""])
    from jinja2 import TemplateError

    text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    given = "".join(turn["content"] for turn in turns)
    if any(mark in given and mark not in text for mark in (TEXT, SYSTEM)):
        msg = "it leaves the message out"
        raise TemplateError(msg)
    return text
