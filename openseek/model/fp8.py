"""FP8 weights as DeepSeek-V3 stores them: e4m3 values and one fp32 scale for each block of 128x128.

Blocks at the right and lower edges are ragged: a matrix of R x C has ceil(R/128) x ceil(C/128)
scales, called `X.weight_scale_inv` beside `X.weight`. Despite the name they are multiplied with.

Shapes: R rows, C columns, G rows of blocks, H columns of blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 128
SCALE = "_scale_inv"
E4M3 = torch.float8_e4m3fn
LARGEST = 448.0
"""Largest finite e4m3 value."""
RELATIVE_ERROR = 2.0**-4
"""Rounding to three bits of mantissa moves a normal value by at most this share of itself."""


def scale_shape(rows: int, columns: int) -> tuple[int, int]:
    """Return how many blocks a matrix has, (G, H)."""
    return -(-rows // BLOCK), -(-columns // BLOCK)


def dequantise(weight_RC: Tensor, scale_GH: Tensor, first_row: int = 0) -> Tensor:
    """Multiply each value with the scale of its block.

    Args:
        weight_RC: Consecutive rows of an e4m3 matrix.
        scale_GH: All scales of the matrix, fp32.
        first_row: Number of the first of these rows within the matrix.

    Returns:
        [R, C] in fp32.
    """
    rows, columns = weight_RC.shape
    block_R = torch.arange(first_row, first_row + rows) // BLOCK
    scale_RC = scale_GH.float()[block_R].repeat_interleave(BLOCK, dim=1)[:, :columns]
    return weight_RC.float() * scale_RC


def quantise(weight_RC: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each block so that its largest value becomes 448, and round to e4m3.

    Args:
        weight_RC: A matrix, or rows of one that begin at a multiple of 128.

    Returns:
        ([R, C] e4m3, [G, H] fp32 scales); a block of zeros has the scale 1.
    """
    rows, columns = weight_RC.shape
    blocks, across = scale_shape(rows, columns)
    padded = torch.zeros(blocks * BLOCK, across * BLOCK)
    padded[:rows, :columns] = weight_RC
    largest_GH = padded.view(blocks, BLOCK, across, BLOCK).abs().amax(dim=(1, 3))
    scale_GH = torch.where(largest_GH > 0, largest_GH / LARGEST, torch.ones_like(largest_GH))
    wide_RC = scale_GH.repeat_interleave(BLOCK, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :columns]
    scaled = (weight_RC.float() / wide_RC).clamp_(-LARGEST, LARGEST)
    return scaled.to(E4M3), scale_GH
