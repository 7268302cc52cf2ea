"""What one section asks of another, refused before anything runs."""

from __future__ import annotations

from openseek.config.pipeline import PipelineConfig
from openseek.errors import ConfigError


def check_domains(config: PipelineConfig) -> None:
    """Refuse mixtures that select by a domain that no document of the run will carry.

    Raises:
        ConfigError: Documents are not labelled, token shards do not keep the labels, or the
            labeller has no such domain.
    """
    from openseek.quality.domains import domain_names

    wanted = [
        (f"stages.{stage}.mixture.groups.{name}.domain", domain)
        for stage in config.stage_names()
        for name, group in config.mix_step(stage).mixture.groups.items()
        for domain in group.domain
    ]
    if not wanted:
        return
    where, _ = wanted[0]
    for enabled, switch in (
        (config.quality.domains.enabled, "quality.domains.enabled"),
        (config.tokens.domains, "tokens.domains"),
    ):
        if not enabled:
            raise ConfigError(
                f"selects by domain, but {switch} is false", where=where,
                mend=f"Set {switch} to true, or take the condition out.",
            )  # fmt: skip
    labeller = config.quality.domains
    if config.domain_classifier is not None and not labeller.classifier:
        return  # it learns its labels from what it reads
    known = domain_names(labeller)
    for where, domain in wanted:
        if domain not in known:
            raise ConfigError(
                f"no document will be labelled {domain!r}", where=where,
                mend=f"Choose of {', '.join(known)}.",
            )  # fmt: skip
