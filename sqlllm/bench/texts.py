"""Made-up texts of an exact number of tokens, the same in every run."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from sqlllm.errors import SqlllmError

WORDS = """
the order came late and box was open when we saw it on our door last week but no one from your team
has called back yet so please send new parts or give money for this old chair my account shows two
payments in one day while only light works after update night screen stays black sound is good price
fair people at desk were kind asked about more than three times first page would not load then city
street house water road small large green blue red paper plan change name number right wrong early
long short under over near far year month hour minute phone card bank line list file book table
window floor air food tea coffee bread market shop train car park river hill school class teacher
child friend family mother father music game team player ball goal win lose start stop close read
write speak hear think know
"""

LABELS = """
billing shipping account product weather travel music food price service support quality delivery
praise sport health school news
"""
"""Candidates for labels, of which those are used that are one token."""

Count = Callable[[str], int]


def texts(lengths: Sequence[int], count: Count, *, seed: int = 0) -> list[str]:
    """Distinct texts of English words, each exactly as long as asked.

    Args:
        lengths: Tokens of each text.
        count: Tokens of a text.
        seed: Another seed, other texts.

    Raises:
        SqlllmError: The tokenizer has too few of the words as one token.
    """
    words = whole_words(count)
    draw = random.Random(seed)
    made: dict[str, None] = {}
    for length in lengths:
        for _ in range(1000):
            text = " ".join(draw.choices(words, k=length))
            if text not in made and count(text) == length:
                made[text] = None
                break
        else:
            msg = f"could not make {len(lengths)} distinct texts: none of {length} tokens is left"
            raise SqlllmError(msg, hint="ask for fewer or longer rows")
    return list(made)


def whole_words(count: Count) -> list[str]:
    """The words that are one token at the beginning of a text and inside it."""
    words = [word for word in dict.fromkeys(WORDS.split()) if count(word) == 1]
    words = [word for word in words if count(f"the {word}") == 1 + count("the")]
    if len(words) < 20:
        msg = f"this tokenizer has {len(words)} of the English words as one token"
        raise SqlllmError(msg, hint="bench an English model, or one with a larger vocabulary")
    return words


def padded_to(length: int, beginning: str, measured: Count, count: Count) -> str:
    """`beginning` and then words, so that `measured` of it is `length`, or the least above it.

    Args:
        length: Tokens wanted, of whatever `measured` looks at.
        beginning: A sentence to start with.
        measured: Tokens of the whole that the text becomes part of.
        count: Tokens of a text.
    """
    words = whole_words(count)
    text = beginning
    for i in range(length):
        if measured(text) >= length:
            break
        text += f" {words[i % len(words)]}"
    return text


def lognormal(rows: int, *, mean: float, most: int, sigma: float = 0.6, seed: int = 0) -> list[int]:
    """Lengths as those of real text: many short ones, a few long ones.

    Args:
        rows: How many.
        mean: Their mean, before the long ones are cut: exp(mu + sigma^2 / 2).
        most: Longer ones are cut to this.
        sigma: Standard deviation of the logarithm.
        seed: Another seed, other lengths.
    """
    draw = random.Random(seed)
    mu = math.log(mean) - sigma**2 / 2
    return [min(max(round(draw.lognormvariate(mu, sigma)), 2), most) for _ in range(rows)]
