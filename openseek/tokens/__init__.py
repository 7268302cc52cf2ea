"""Tokenizers and token shards.

    tokenizer.py    load a Hugging Face tokenizer folder without transformers
    bpe.py          train a byte-level BPE on a balanced sample
    pretrained.py   bring an existing tokenizer into a plain folder
    tiktoken.py     a tiktoken rank file as such a tokenizer
    train.py        step `train_tokenizer`
    shard.py        a document shard as flat ids; the layout of the files
    stats.py        counts by label and the unigram model
    step.py         step `tokenise`

Alone:

    config = TokenizerConfig(vocab_size=8192)
    sample = take_sample(sorted(Path("documents").glob("*.parquet")), config)
    train_bpe([piece.text for piece in sample], config, Path("tokenizer"))
    ids = load_tokenizer(Path("tokenizer")).encode_batch(["some text"])
"""

from openseek.tokens.bpe import take_sample, train_bpe
from openseek.tokens.pretrained import copy_tokenizer
from openseek.tokens.shard import encode_rows
from openseek.tokens.step import tokenise
from openseek.tokens.tokenizer import Tokenizer, load_tokenizer, open_tokenizer
from openseek.tokens.train import train_tokenizer

__all__ = [
    "Tokenizer",
    "copy_tokenizer",
    "encode_rows",
    "load_tokenizer",
    "open_tokenizer",
    "take_sample",
    "tokenise",
    "train_bpe",
    "train_tokenizer",
]
