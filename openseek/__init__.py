"""OpenSeek: raw corpora in, a trained and evaluated mixture-of-experts model out."""

__version__ = "0.1.0"
