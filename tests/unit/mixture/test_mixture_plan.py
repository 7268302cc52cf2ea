from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from openseek.config.mixture import AuditLimits, MixStepConfig, MixtureConfig, presets
from openseek.errors import ConfigError
from openseek.mixture import Bucket, audit_plan, plan_stage
from openseek.mixture.plan import apportion

BUCKETS = [
    Bucket("web", "foundation", "en", "high", 60_000),
    Bucket("web", "foundation", "en", "low", 40_000),
    Bucket("zh", "foundation", "zh-Hans", "high", 20_000),
    Bucket("py", "code", "code", "", 30_000),
    Bucket("set", "math", "en", "", 10_000),
    Bucket("qa", "cot", "en", "", 5_000),
]


def stage(groups: dict[str, Any] | None = None, **values: Any) -> MixStepConfig:
    mixture = {k: values.pop(k) for k in list(values) if k in MixtureConfig.model_fields}
    if groups is not None:
        mixture["groups"] = groups
    return MixStepConfig.model_validate(
        {"stage": "foundation", "tokens": "40k", "sequence_length": 20, "mixture": mixture} | values
    )


def counts(config: MixStepConfig, buckets: list[Bucket] = BUCKETS) -> dict[str, int]:
    return {g.name: g.sequences for g in plan_stage(config, buckets).groups}


@given(
    st.dictionaries(st.text(max_size=2), st.floats(1e-6, 1e3), min_size=1, max_size=8),
    st.integers(0, 10_000),
)
def test_apportioning_is_exact_and_fair(shares: dict[str, float], total: int) -> None:
    found = apportion(shares, total)
    whole = math.fsum(shares.values())
    assert sum(found.values()) == total
    assert all(abs(found[n] - shares[n] / whole * total) < 1 + 1e-6 for n in shares)


def test_weights_become_exact_sequences() -> None:
    assert counts(stage({"foundation": 0.7, "code": 0.2, "math": 0.05, "cot": 0.05})) == {
        "foundation": 1400, "code": 400, "math": 100, "cot": 100,
    }  # fmt: skip


def test_the_most_specific_group_gets_the_documents() -> None:
    groups = {
        "foundation": 0.5,
        "chinese": {"category": "foundation", "lang": ["zh"], "weight": 0.2},
        "best": {"category": "foundation", "lang": ["en"], "tier": ["high"], "weight": 0.3},
    }
    plan = plan_stage(stage(groups), BUCKETS)
    assert {g.name: g.available_tokens for g in plan.groups} == {
        "foundation": 40_000, "chinese": 20_000, "best": 60_000,
    }  # fmt: skip
    (unused,) = plan.findings
    assert unused.code == "unused"
    assert "27.3 %" in unused.message


LABELLED = [
    Bucket("web", "foundation", "en", "high", 60_000, "science"),
    Bucket("web", "foundation", "en", "low", 30_000, "general"),
    Bucket("zh", "foundation", "zh-Hans", "high", 10_000, "law"),
    Bucket("qa", "cot", "en", "", 20_000),
]


def test_a_group_selects_by_domain_and_the_others_take_what_it_leaves() -> None:
    groups = {
        "foundation": 0.4,
        "learned": {"category": "foundation", "domain": ["science", "law"], "weight": 0.5},
        "cot": 0.1,
    }
    plan = plan_stage(stage(groups), LABELLED)
    assert {g.name: g.available_tokens for g in plan.groups} == {
        "foundation": 30_000, "learned": 70_000, "cot": 20_000,
    }  # fmt: skip
    report = audit_plan(plan, LABELLED, AuditLimits())
    assert report.shares["domain"] == pytest.approx(
        {"science": 0.5 * 6 / 7, "general": 0.4, "": 0.1, "law": 0.5 / 7}
    )


def test_a_domain_that_no_document_has_is_an_error_that_lists_them() -> None:
    odd = {"category": "foundation", "domain": ["sceince"], "weight": 0.5}
    with pytest.raises(ConfigError, match="sceince") as caught:
        plan_stage(stage({"odd": odd, "foundation": 0.5}), LABELLED)
    assert caught.value.where == "stages.foundation.mixture.groups.odd.domain"
    assert "Choose of general, law, science" in str(caught.value)
    optional = plan_stage(stage({"odd": odd | {"optional": True}, "foundation": 0.5}), LABELLED)
    assert [f.code for f in optional.findings] == ["unused", "no_data"]


@pytest.mark.parametrize("optional", [False, True])
def test_selecting_by_domain_without_labels_is_an_error(optional: bool) -> None:
    group = {"category": "foundation", "domain": ["law"], "weight": 0.5, "optional": optional}
    with pytest.raises(ConfigError, match=r"no document is labelled.*quality\.domains\.enabled"):
        plan_stage(stage({"law": group, "foundation": 0.5}), BUCKETS)


def test_an_audit_of_unlabelled_documents_has_no_domains() -> None:
    plan = plan_stage(stage({"foundation": 1.0}), BUCKETS)
    shares = audit_plan(plan, BUCKETS, AuditLimits()).shares
    assert list(shares) == ["category", "source", "lang", "tier"]


def test_documents_of_two_groups_alike_are_an_error() -> None:
    groups = {
        "a": {"category": "foundation", "source": ["web"], "weight": 0.5},
        "b": {"category": "foundation", "tier": ["high"], "weight": 0.5},
    }
    with pytest.raises(ConfigError, match=r"'a' and 'b' alike.*further condition"):
        plan_stage(stage(groups), BUCKETS)


def test_natural_follows_the_tokens() -> None:
    found = counts(stage(preset="natural"))
    assert list(found) == ["foundation", "code", "math", "cot"]
    for name, tokens in (("foundation", 120), ("code", 30), ("math", 10), ("cot", 5)):
        assert found[name] == pytest.approx(2000 * tokens / 165, abs=1)


def test_too_much_repetition_names_the_weight_that_fits() -> None:
    config = stage({"foundation": 0.3, "cot": 0.7}, max_epochs=2)
    with pytest.raises(ConfigError) as caught:
        plan_stage(config, BUCKETS)
    assert "pass 5.6 times over its 5k tokens" in str(caught.value)
    assert "Lower its weight to 0.249" in str(caught.value)
    assert caught.value.where == "stages.foundation.mixture.groups.cot"
    plan = plan_stage(config, BUCKETS, strict=False)
    assert [f.code for f in plan.findings] == ["unused", "epochs_high"]


def test_repeat_goes_on_and_says_so() -> None:
    config = stage({"foundation": 0.3, "cot": 0.7}, max_epochs=2, on_exhausted="repeat")
    plan = plan_stage(config, BUCKETS)
    cot = plan.groups[0]
    assert (cot.sequences, cot.available_sequences) == (1400, 249)
    assert cot.epochs == pytest.approx(5.62, abs=0.01)
    assert plan.findings[-1].code == "epochs_high"


@given(st.floats(0.01, 0.98), st.floats(0.2, 4))
def test_redistribution_keeps_the_total_and_the_caps(cot: float, epochs: float) -> None:
    groups = {"foundation": (1 - cot) / 2, "code": (1 - cot) / 2, "cot": cot}
    config = stage(groups, max_epochs=epochs, on_exhausted="redistribute", normalise=True)
    caps = {"foundation": 5999, "code": 1499, "cot": 249}
    room = sum(math.floor(epochs * c) for c in caps.values())
    if room < 2000:
        with pytest.raises(ConfigError, match="all groups together"):
            plan_stage(config, BUCKETS)
        return
    found = counts(config)
    assert sum(found.values()) == 2000
    assert all(found[n] <= math.floor(epochs * c) for n, c in caps.items())


def test_redistribution_keeps_proportions_of_the_others() -> None:
    groups = {"foundation": 0.2, "code": 0.1, "cot": 0.7}
    plan = plan_stage(stage(groups, max_epochs=2, on_exhausted="redistribute"), BUCKETS)
    found = {g.name: g.sequences for g in plan.groups}
    assert found["cot"] == 498
    assert found["foundation"] == pytest.approx(2 * found["code"], abs=2)
    assert {g.name: g.weight_target for g in plan.groups}["cot"] == pytest.approx(0.7)
    assert plan.findings[-1].code == "exhausted"


def test_a_group_without_data_is_an_error_unless_optional() -> None:
    groups: dict[str, Any] = {
        "foundation": 0.6,
        "french": {"category": "foundation", "lang": ["fr"], "weight": 0.1},
        "code": 0.3,
    }
    with pytest.raises(ConfigError, match=r"'french' has 0 tokens.*optional"):
        plan_stage(stage(groups), BUCKETS)
    groups["french"]["optional"] = True
    plan = plan_stage(stage(groups), BUCKETS)
    assert {g.name: g.sequences for g in plan.groups} == {"foundation": 1400, "code": 600}
    assert "no_data" in [f.code for f in plan.findings]


def test_no_data_at_all_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no tokens at all"):
        plan_stage(stage(preset="natural"), [])
    with pytest.raises(ConfigError, match="has 0 tokens"):
        plan_stage(stage(preset="openseek-curriculum"), [])


def test_the_curriculum_is_the_report_s() -> None:
    shares: dict[str, dict[str, float]] = {}
    for name in presets()["openseek-curriculum"]:
        config = stage(preset="openseek-curriculum", stage=name)
        sums = shares.setdefault(name, {})
        for group in config.mixture.groups.values():
            sums[str(group.category)] = sums.get(str(group.category), 0) + (group.weight or 0)
        assert sum(sums.values()) == pytest.approx(1)
        assert plan_stage(config, BUCKETS, strict=False).n_sequences == 2000
    first, second, third = shares.values()
    assert list(shares) == ["foundation", "specialization", "integration"]
    assert first["foundation"] > 0.5
    assert second["code"] + second["math"] == pytest.approx(0.30)
    assert second["cot"] == pytest.approx(0.10)
    assert third["cot"] >= 0.20
    assert first["cot"] < second["cot"] < third["cot"]


def test_a_preset_is_written_out_and_can_be_changed() -> None:
    config = stage({"code": 0.08, "cot": 0.01}, preset="openseek-curriculum")
    groups = config.identity()["mixture"]["groups"]
    assert groups["code"]["weight"] == 0.08
    assert groups["foundation-zh"] == {
        "category": "foundation", "weight": 0.15, "source": [], "lang": ["zh"], "tier": [],
        "domain": [], "optional": True,
    }  # fmt: skip
    again = MixStepConfig(
        stage="foundation", tokens="40k", sequence_length=20, mixture=config.mixture
    )
    assert again == config


@pytest.mark.parametrize(
    ("mixture", "told"),
    [
        ({"groups": {"code": 0.2, "math": 0.3}}, r"sum to 0.5, not to 1.*normalise.*math = 0.8"),
        ({"groups": {"code": 0.2, "math": 1.3}}, r"sum to 1.5"),
        ({"groups": {"code": 0, "math": 0}}, "all weights of the mixture are 0"),
        ({"groups": {"prose": 1}}, r"set groups\.prose\.category"),
        ({"groups": {"code": {}}}, "has no weight"),
        ({"groups": {"code": {"weight": 1, "colour": "red"}}}, "colour"),
        ({"groups": {"code": -1}}, "greater than or equal to 0"),
        ({}, "without groups"),
        ({"preset": "natural", "groups": {"code": 1}}, "leave out groups"),
        ({"preset": "openseek-curriculum", "groups": {"cot": 0.3}}, "sum to 1.27"),
        ({"preset": "unheard-of"}, "openseek-curriculum"),
    ],
)
def test_mixtures_that_mean_nothing_are_refused(mixture: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        MixStepConfig(stage="foundation", tokens=1000, mixture=mixture)


def test_a_preset_without_the_stage_says_which_it_has() -> None:
    with pytest.raises(ValidationError, match=r"no stage 'fourth', only foundation"):
        MixStepConfig(stage="fourth", tokens=1000, mixture={"preset": "openseek-curriculum"})


def test_weights_within_rounding_are_taken() -> None:
    MixtureConfig(groups={"code": 0.3333333, "math": 0.3333333, "cot": 0.3333334})
    with pytest.raises(ValidationError, match="sum to"):
        MixtureConfig(groups={"code": 0.33333, "math": 0.33333, "cot": 0.33333})
