"""Word lists of the compiled pass, as hash tables: contractions, abbreviations, units, stop words.

The tables are rows of (hash, value + 1) with open addressing; a power of two of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

STOP_WORDS_EN = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher's eight
STOP_WORDS_ZH = tuple("的一是不了在有我人这這中大来來上为為和也之以其于於而者所无無与與此")
_ZH_FROM = 32  # the compiled pass numbers Chinese stop words from here

_ASKING = "who what when where why how there that"
_ENDINGS = {
    "'ll": f"i you he she it we they this {_ASKING}",
    "'d": f"i you he she it we they this {_ASKING}",
    "'ve": "i you we they who what where why how there that",
    "'re": "you we they who what where why how",
    "'s": f"he she it {_ASKING}",
}
_AUXILIARIES = (
    "is", "are", "was", "were", "have", "has", "had", "could", "would", "should", "must", "might",
    "do", "does", "did", "need",
)  # fmt: skip
_SHORTENED = {"can't": 2, "won't": 2, "shan't": 3, "ain't": 2, "mayn't": 3, "daren't": 4}
_WHOLE = (
    "a.m. p.m. e.g. i.e. E.g. I.e. vs. v.s. Mr. Mrs. Ms. Dr. Prof. St. Jr. Inc. Ltd. Co. co. Corp. "
    "Bros. Gen. Gov. Rep. Rev. Sen. Adm. Ph.D. D.C. N.Y. N.J. Mt. Mo. Md. Jan. Feb. Mar. Apr. Jun. "
    "Jul. Aug. Sep. Sept. Oct. Nov. Dec. Ill. Ind. Mass. Pa. Va. La. Ga. Del. Calif. Wash. Minn. "
    "Mich. Miss. Wis. Tenn. and/or w/o o'clock O'clock ma'am Ma'am C++ '' \\t \\n "
    ":) :-) ;) ;-) :( :-( :D :-D :P :-P :/ :o) <3 (: (; =) =( :-/ :* 8) (8 ^_^ -_- o_o O_o O.o "
    "=] [= =[ ]= :] [: :[ ]: =/ =| :| :-| :0 :3 :> :x xD XD xDD XDD V.V v.v V_V"
)
_NOT_SHORTENED = frozenset({"ill", "hell", "shell", "shed", "were", "well", "its", "whore"})
_UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s "
    "km/h kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K %"
)


@dataclass(frozen=True)
class Lexicon:
    """Hash tables that `scan.scan_texts` takes."""

    specials: NDArray[np.uint64]
    units: NDArray[np.uint64]
    stops: NDArray[np.uint64]


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """Build the tables."""
    stops = {word: i for i, word in enumerate(STOP_WORDS_EN)}
    stops |= {word: _ZH_FROM + i for i, word in enumerate(STOP_WORDS_ZH)}
    return Lexicon(
        specials=_table(_contractions()),
        units=_table(dict.fromkeys(_UNITS.split(), 0)),
        stops=_table(stops),
    )


def _contractions() -> dict[str, int]:
    """List contractions with the place where they are cut; abbreviations and faces are not."""
    cuts = dict.fromkeys(_WHOLE.split(), 0) | {f"{c}.": 0 for c in "abcdefghijklmnopqrstuvwxyzäöü"}
    for ending, subjects in _ENDINGS.items():
        cuts |= {subject + ending: len(subject) for subject in subjects.split()}
    cuts |= {"i'm": 1, "let's": 3, "cannot": 3, "gonna": 3, "gotta": 3, "y'all": 2, "c'mon": 3}
    cuts |= {f"{verb}n't": len(verb) for verb in _AUXILIARIES} | _SHORTENED
    bare = {
        word.replace("'", ""): cut
        for word, cut in cuts.items()
        if cut and "'" in word and word != "let's"
    }
    cuts |= {word: cut for word, cut in bare.items() if word not in _NOT_SHORTENED}
    cuts |= dict.fromkeys(("'d", "'s", "'S", "'re", "'cause", "'em"), 0)
    cuts |= {word[:1].upper() + word[1:]: cut for word, cut in cuts.items() if cut}
    return cuts


def _table(values: Mapping[str, int]) -> NDArray[np.uint64]:
    from openseek.cleaning.tokens import hash_word

    size = 64
    while size < 4 * len(values):
        size *= 2
    table = np.zeros((size, 2), np.uint64)
    for word, value in values.items():
        key = int(hash_word(np.frombuffer(bytearray(word.encode()), np.uint8)))
        at = key & (size - 1)
        while table[at, 1]:
            at = (at + 1) & (size - 1)
        table[at] = key, value + 1
    return table
