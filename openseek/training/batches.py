"""A global batch cut into micro-batches on their device.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openseek.model.loss import IGNORE


@dataclass(frozen=True)
class MicroBatch:
    """What one forward pass takes.

    Attributes:
        tokens_BT: Tokens.
        labels_BT: The token that follows each, -100 at the end of a document.
        doc_BT: A number for each token that changes where a document begins.
        category_B: Category of each sequence, on the CPU.
    """

    tokens_BT: Tensor
    labels_BT: Tensor
    doc_BT: Tensor
    category_B: Tensor


def cut(
    batch: Any, numbers: Iterable[int], size: int, device: torch.device
) -> Iterator[MicroBatch]:
    """Cut some micro-batches out of a batch, `tokens_BT1` and `doc_BT1` of one token more.

    Args:
        batch: The batch of a step, over all ranks.
        numbers: Which of its micro-batches.
        size: Sequences in each.
        device: Where to put them.
    """
    for number in numbers:
        rows = slice(number * size, (number + 1) * size)
        tokens_BT1 = torch.as_tensor(batch.tokens_BT1[rows]).long().to(device)
        doc_BT1 = torch.as_tensor(batch.doc_BT1[rows]).long().to(device)
        yield MicroBatch(
            tokens_BT=tokens_BT1[:, :-1],
            labels_BT=tokens_BT1[:, 1:].masked_fill(doc_BT1[:, 1:] != doc_BT1[:, :-1], IGNORE),
            doc_BT=doc_BT1[:, :-1],
            category_B=torch.as_tensor(batch.category_B[rows]),
        )
