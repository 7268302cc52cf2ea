"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from openseek.config.training import ScheduleConfig


def warmup_steps(config: ScheduleConfig, n_steps: int, tokens_per_step: int) -> int:
    """Return the length of the warmup in optimizer steps, at most `n_steps`."""
    if config.warmup_tokens:
        return min(n_steps, math.ceil(config.warmup_tokens / tokens_per_step))
    return min(n_steps, round(config.warmup_fraction * n_steps))


def learning_rate(config: ScheduleConfig, step: int, n_steps: int, tokens_per_step: int) -> float:
    """Return the learning rate of an optimizer step.

    The warmup rises linearly from `lr_start` and reaches `lr_peak` with its last step; a decay
    reaches `lr_end` with the last step of the stage.

    Args:
        config: The stage's schedule.
        step: Optimizer step of the stage, from 0.
        n_steps: Optimizer steps of the stage.
        tokens_per_step: Tokens in a step, for a warmup given in tokens.
    """
    n_warmup = warmup_steps(config, n_steps, tokens_per_step)
    if step < n_warmup:
        return config.lr_start + (config.lr_peak - config.lr_start) * (step + 1) / n_warmup
    if config.shape == "constant":
        return config.lr_peak
    rest = n_steps - n_warmup
    n_decay = min(rest, round(config.decay_fraction * n_steps)) if config.shape == "wsd" else rest
    done = step - (n_steps - n_decay) + 1
    if done <= 0:
        return config.lr_peak
    form = config.decay if config.shape == "wsd" else config.shape
    return config.lr_end + (config.lr_peak - config.lr_end) * _remaining(form, done / n_decay)


def _remaining(form: str, t: float) -> float:
    if form == "cosine":
        return 0.5 * (1 + math.cos(math.pi * t))
    if form == "minus_sqrt":
        return 1 - math.sqrt(t)
    return 1 - t
