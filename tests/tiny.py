"""Models with random weights and a tokenizer of single bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "pad_token_id": None,
    "initializer_range": 0.6,
}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen2": ("Qwen2Config", {}),
    "mistral": ("MistralConfig", {"sliding_window": 16}),  # shorter than every prompt
    "gemma": ("GemmaConfig", {"head_dim": 8}),
    "gemma2": ("Gemma2Config", {"head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8}),
    "phi3": ("Phi3Config", {}),
    "granite": ("GraniteConfig", {"logits_scaling": 8.0}),
    "gpt_oss": ("GptOssConfig", {"head_dim": 8, "sliding_window": 16, "num_local_experts": 4}),
    "bloom": ("BloomConfig", {"n_head": 4, "n_layer": 2}),  # positions as biases: not for Engine
}
ENGINES = [kind for kind in CONFIGS if kind != "bloom"]
"""Those that run in the engine."""


def tokenizer() -> Any:
    import transformers as tr
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for special in ("<|im_start|>", "<|im_end|>"):
        vocab[special] = len(vocab)
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    made = tr.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    made.chat_template = TEMPLATE
    return made


def save(kind: str, folder: Path, *, tokens: Any = None, **sizes: Any) -> Path:
    """A model of that architecture in `folder`; `sizes` differ from `SIZES`."""
    import torch
    import transformers as tr

    tokens = tokens or tokenizer()
    tokens.save_pretrained(folder)
    torch.manual_seed(0)
    name, more = CONFIGS[kind]
    config = getattr(tr, name)(
        **SIZES | sizes, vocab_size=len(tokens), eos_token_id=tokens.eos_token_id, **more
    )
    tr.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def reference(folder: Path) -> Any:
    """The model as transformers runs it."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def by_transformers(model: Any, plain: Any, task: Any, text: str) -> Any:
    """What a text, or the mean log-probability of each answer, is over the whole prompt.

    Args:
        model: Ours, for its tokenizer.
        plain: The same as `reference` gives it.
        task: One that writes or chooses.
        text: The row.
    """
    import torch

    from sqlllm.engine.prompt import answers, encode, prompt_of

    prompt = prompt_of(model._tokenizer, task)
    before = [*prompt.head, *encode(model._tokenizer, text), *prompt.tail]
    if task.kind == "complete":
        ids = torch.tensor([before])
        out = plain.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=task.max_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        return model._tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    found = []
    for answer in answers(task):
        label = encode(model._tokenizer, answer)
        with torch.inference_mode():
            odds = plain(torch.tensor([before + label])).logits[0].log_softmax(-1)
        picked = [odds[len(before) - 1 + i, token] for i, token in enumerate(label)]
        found.append(torch.stack(picked).mean())
    return torch.stack(found)


def collect(batches: Any) -> dict[int, Any]:
    """Position -> answer; none has two."""
    pairs = [pair for b in batches for pair in zip(b.rows, b.answers, strict=True)]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)
