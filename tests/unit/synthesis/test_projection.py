from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from test_synthesis_step import documents

from openseek.config.labelling import LabellingConfig
from openseek.config.recipes import KnowledgeConfig, RecipeName
from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.synthesis.knowledge.seeds import fitting_seeds
from openseek.synthesis.projection import needed, project

TEACHER = {"kind": "openai", "model": "m", "base_url": "https://x.io/v1"}
PRICED = TEACHER | {"price_in": 1.0, "price_out": 10.0}


def section(teacher: dict[str, Any], **recipe: Any) -> SynthesisConfig:
    return SynthesisConfig(teacher=teacher, recipes=(RecipeConfig(name="simple_qa", **recipe),))


def test_requests_are_those_of_the_documents_that_fit(tmp_path: Path) -> None:
    files = documents(tmp_path / "in")
    told = project(section(PRICED), files)
    assert told is not None
    assert told["requests"] == 18  # as the step sends them: one a document, the short one is left
    assert told["usd"] == pytest.approx(
        (told["prompt_tokens"] + 10 * told["completion_tokens"]) / 1e6, abs=1e-4
    )
    assert told["basis"] == "a sample of the documents"
    code = project(section(PRICED, categories=("code",)), files)
    assert code is not None
    assert code["requests"] == 6
    capped = project(section(PRICED, max_documents=4), files)
    assert capped is not None
    assert capped["requests"] == 4


def test_requests_follow_the_options_and_what_a_recipe_is_given(tmp_path: Path) -> None:
    files = documents(tmp_path / "in")

    def requests(*recipes: RecipeConfig) -> int:
        told = project(SynthesisConfig(teacher=PRICED, recipes=recipes), files)
        assert told is not None
        return int(told["requests"])

    two = RecipeConfig(name="rephrase", kinds=("wiki", "distill"), max_documents=3)
    assert requests(two) == 6
    assert requests(RecipeConfig(name="key_points", solutions=4, max_documents=100)) == 600
    mathematics = RecipeConfig(name="knowledge_tags", fields=("math",), languages=("en",))
    assert requests(mathematics) == len(fitting_seeds(mathematics, KnowledgeConfig())) > 2
    backward = RecipeConfig(name="long_cot_backward", max_items=4, max_documents=2)
    forward = RecipeConfig(name="long_cot_forward", ask_agreement=False)
    assert requests(backward) == 2 * 7
    assert requests(backward, forward) == 2 * 7 + 2  # it is given two rows at most


@pytest.mark.parametrize("name", get_args(RecipeName))
def test_every_recipe_has_its_needs(name: RecipeName) -> None:
    need = needed(RecipeConfig(name=name), 600.0)
    assert need.requests >= 1
    assert need.answers > 0


def test_without_documents_their_length_is_a_guess() -> None:
    told = project(section(PRICED | {"max_cost_usd": 3.0}, max_documents=1000), None)
    assert told is not None
    assert (told["requests"], told["limit_usd"]) == (1000, 3.0)
    assert told["basis"] == "documents of typical length"


def test_a_model_of_unknown_price_has_no_cost() -> None:
    told = project(section(TEACHER), None)
    assert told is not None
    assert told["usd"] is None


def test_who_asks_nobody_has_no_projection() -> None:
    assert project(SynthesisConfig(), None) is None
    assert project(LabellingConfig(), None) is None


def test_labels_are_asked_for_by_every_prompt() -> None:
    config = LabellingConfig(teacher=PRICED, prompts=("additive", "direct"), documents=100)
    told = project(config, None)
    assert told is not None
    assert told["requests"] == 200
