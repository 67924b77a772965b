"""First embeddings of numbers that know their order.

A number is one token (`prstack.pretrain.tokenizer`), and a random embedding says nothing of its size: to compare two of them a model would have
to learn a thousand places by heart. Here the last dimensions of its embedding are a thermometer code instead: the n-th is near 1 where the
number is above the n-th mark and near -1 below, the marks evenly spread over the logarithm of `RANGE`. One dimension more is the same
for all numbers and zero elsewhere, so that attention can look for numbers. All of it is trained like the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

MARKS = 32
"""Dimensions of the thermometer; a narrow model takes an eighth of its width."""
FLAG = 4.0
"""What marks a number as one, against a standard deviation of 1."""
RANGE = 0.3, 10_000
"""From the first mark to the last."""
_NUMBER = re.compile(r"\u0120?([0-9]{1,4}|[0-9]{1,2}\.[0-9])")
"""A token of byte-level BPE; U+0120 is its space."""


def set_numbers(embedding: Tensor, vocabulary: Mapping[str, int]) -> int:
    """Sets the embeddings ([tokens, hidden], of standard deviation 1) of all numbers, in place.

    `vocabulary`: the id of each token. Returns how many of the last dimensions of the embedding are taken: 0 where no token is a
    number or the model is too narrow (hidden below 16).
    """
    marks = min(MARKS, embedding.shape[1] // 8)
    values = {id: float(m[1]) for token, id in vocabulary.items() if (m := _NUMBER.fullmatch(token))}
    if not values or marks < 2:
        return 0
    at = torch.linspace(*map(math.log, RANGE), marks)
    size = torch.tensor(list(values.values()), dtype=torch.float32).clamp(min=RANGE[0]).log()
    ids = list(values)
    embedding[:, -marks - 1] = 0.0
    embedding[ids, -marks - 1] = FLAG
    embedding[ids, -marks:] = torch.tanh((size[:, None] - at) / (at[1] - at[0]))
    return marks + 1
