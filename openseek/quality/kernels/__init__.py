"""The compiled loops over UTF-8 text; nothing here knows what a document is.

All of them read Arrow's layout: one byte buffer and `offsets` (text i is `buf[offsets[i]:
offsets[i+1]]`), so that a column is read without a copy.

text        code points, tokens, hashes: what the others are built on
ngrams      windows of tokens and tables of them
lm          the character n-gram model
features    counts for the heuristic scorer
linear      hashed n-gram features, training and scoring of the linear classifier
topics      weighted keywords of each domain
"""

from openseek.quality.kernels.features import FEATURES, pair_key, text_features
from openseek.quality.kernels.lm import lm_bits, lm_count
from openseek.quality.kernels.ngrams import build_table, count_tokens, lead_set, scan, window_hashes
from openseek.quality.kernels.text import tokenize

__all__ = [
    "FEATURES",
    "build_table",
    "count_tokens",
    "lead_set",
    "lm_bits",
    "lm_count",
    "pair_key",
    "scan",
    "text_features",
    "tokenize",
    "window_hashes",
]
