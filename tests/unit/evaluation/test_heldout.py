import math

import pytest

from openseek.config.evaluation import ClozeConfig
from openseek.evaluation.heldout import (
    bits_per_byte,
    cloze_items,
    document_bits,
    sample_documents,
    windows,
)
from openseek.evaluation.models import load_codec

from .fakes import Knowing, Uniform


@pytest.fixture
def codec(tokenizer):
    return load_codec(tokenizer)


@pytest.fixture
def documents(heldout):
    return sample_documents([heldout / "made-00000.parquet"], 0, 0, seed=1)


def test_bits_per_byte_of_a_uniform_model_is_log2_of_the_vocabulary(documents, codec):
    measured = document_bits(Uniform(400), codec, documents, batch_tokens=256)
    tokens = sum(len(t) for t in codec.encode([d.text for d in documents]))
    size = sum(len(d.text.encode()) for d in documents)
    table = bits_per_byte(measured)
    assert table["all"] == pytest.approx(math.log2(400) * tokens / size)
    assert set(table["by_category"]) == {"foundation", "code", "math"}
    assert set(table["by_source"]) == {"made-0", "made-1"}
    chinese = [d for d in measured if d.lang == "zh-Hans"]
    assert table["by_lang"]["zh-Hans"] == pytest.approx(
        math.log2(400) * sum(d.tokens for d in chinese) / sum(d.bytes for d in chinese)
    )


def test_a_model_that_knows_the_text_needs_no_bits(documents, codec):
    one = documents[:1]
    text = codec.encode([one[0].text])[0][:30]
    model = Knowing(400, [[codec.start, *text]])
    model.context_length = 64
    known = [type(one[0])(**{**vars(one[0]), "text": codec.decode(text)})]
    measured = document_bits(model, codec, known, batch_tokens=64)
    assert measured[0].bits < 0.001 * measured[0].tokens


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 16, 17, 30])
@pytest.mark.parametrize("start", [None, 99])
def test_every_token_is_predicted_once_and_no_window_is_too_long(length, start):
    tokens = list(range(length))
    cut = windows(tokens, start, 8)
    predicted = [t for w in cut for t in w[1:]]
    assert predicted == (tokens if start is not None else tokens[1:])
    assert all(2 <= len(w) <= 9 for w in cut)


def test_sample_is_capped_a_group_and_a_document_and_does_not_depend_on_shards(heldout):
    paths = [heldout / "made-00000.parquet"]
    sample = sample_documents(paths, 900, 400, seed=1)
    groups = {}
    for d in sample:
        key = d.category, d.lang
        groups[key] = groups.get(key, 0) + len(d.text.encode())
        assert len(d.text.encode()) <= 400
    assert len(groups) == 4
    assert all(850 < size <= 900 for size in groups.values())
    assert sample == sample_documents(paths, 900, 400, seed=1)
    assert sample != sample_documents(paths, 900, 400, seed=2)


def test_cloze_items_have_one_true_continuation_of_equal_length(documents, codec):
    config = ClozeConfig(items=12, context_tokens=10, choice_tokens=5)
    items = cloze_items("cloze_foundation_en", documents, codec, config, seed=3)
    texts = {d.id: codec.encode([d.text])[0] for d in documents}
    assert len(items) == 12
    assert len({key for key, _ in items}) == 12
    assert len({item.gold for _, item in items}) > 1
    for key, item in items:
        context = [int(t) for t in item.meta["context"].split()]
        choices = [[int(t) for t in c.split()] for c in item.meta["continuations"].split("|")]
        n = int(key.rpartition("-")[2])
        own = texts[item.meta["document"]][n * 15 : (n + 1) * 15]
        assert context + choices[item.gold] == own
        assert [len(c) for c in choices] == [5] * 4
    assert items == cloze_items("cloze_foundation_en", documents, codec, config, seed=3)


def test_too_few_documents_give_no_items(documents, codec):
    few = [d for d in documents if d.category == "math"][:3]
    assert cloze_items("cloze_math", few, codec, ClozeConfig(), seed=3) == []
