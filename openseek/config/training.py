"""How a stage is trained: schedule, optimizer, batch, precision, checkpoints, guard."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from openseek.config.base import Count, Section, runtime
from openseek.config.model import ModelConfig
from openseek.config.monitoring import MonitorConfig
from openseek.config.parallel import ParallelConfig, pipeline_obstacle


class ScheduleConfig(Section):
    """Learning rate of one stage over its own tokens; every stage starts a fresh schedule.

    Source of the defaults: constant through the first stages, then a decay to a tenth of the peak
    in the last one (WSD; facts on curricula: SmolLM3, OLMo 3, Nemotron-3).
    """

    shape: Literal["wsd", "cosine", "linear", "constant"] = Field(
        "wsd",
        description="Course after the warmup: wsd (constant, then decay over the last "
        "`decay_fraction`), cosine or linear (decay over all the rest), constant.",
    )
    lr_peak: float = Field(
        1e-3,
        gt=0,
        description="Learning rate after the warmup (per optimizer step; 1e-3 suits AdamW on "
        "models of 5 to 50M parameters).",
    )
    lr_start: float = Field(
        0.0,
        ge=0,
        description="Learning rate at which the warmup begins. A stage that continues another one "
        "starts at that one's last rate.",
    )
    lr_end: float = Field(
        0.0, ge=0, description="Learning rate of the last step. Not used by the shape constant."
    )
    warmup_tokens: Count = Field(
        0, ge=0, description="Length of the warmup, in tokens. 0: see warmup_fraction."
    )
    warmup_fraction: float = Field(
        0.0, ge=0, lt=1, description="Length of the warmup as a share of the stage."
    )
    decay_fraction: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of the stage in which wsd decays (0.1 to 0.2 in published runs).",
    )
    decay: Literal["linear", "cosine", "minus_sqrt"] = Field(
        "linear", description="Form of the wsd decay; minus_sqrt is 1 - sqrt(t)."
    )

    @model_validator(mode="after")
    def _check(self) -> ScheduleConfig:
        if self.warmup_tokens and self.warmup_fraction:
            raise ValueError(
                "warmup_tokens and warmup_fraction are both set: keep one, set the other to 0"
            )
        if self.lr_start > self.lr_peak:
            raise ValueError(
                f"lr_start={self.lr_start} is above lr_peak={self.lr_peak}: a warmup rises; raise "
                "lr_peak or lower lr_start"
            )
        if self.shape != "constant" and self.lr_end > self.lr_peak:
            raise ValueError(
                f"lr_end={self.lr_end} is above lr_peak={self.lr_peak}: lower lr_end, or use "
                "shape: constant"
            )
        if self.shape == "wsd" and self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError(
                "warmup_fraction + decay_fraction is more than 1: warmup and decay must fit into "
                "the stage"
            )
        return self


BF16_DECAY = 0.99
"""Slowest decay of a moment in bf16, whose neighbours are up to 2^-7 = 0.8 % apart."""


class OptimizerConfig(Section):
    """What updates the weights: AdamW, or Muon with AdamW for what it does not move.

    AdamW is torch's own fused kernel: no compiler needed, as fast as DeepSpeed's CPU Adam.
    """

    kind: Literal["adamw", "muon"] = Field(
        "adamw",
        description="Optimizer. muon: matrices of hidden layers by Muon, with the same learning "
        "rate and weight decay; embedding, output layer, norms and router by AdamW.",
    )
    momentum: float = Field(
        0.95, ge=0, lt=1, description="Decay of Muon's momentum (Nesterov). Not used by adamw."
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the first moment.")
    beta2: float = Field(
        0.95, ge=0, lt=1, description="Decay of the second moment (0.95: DeepSeek-V3)."
    )
    eps: float = Field(1e-8, gt=0, description="Term added to the denominator.")
    weight_decay: float = Field(
        0.1, ge=0, description="Decoupled weight decay of matrices; vectors (norms) have none."
    )
    moments: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="Type in which the moments rest between updates; updates are computed in fp32 "
        "either way. bf16 (as DeepSeek-V3) takes 4 bytes a weight less.",
    )
    fused: bool = Field(
        True, description="Use the fused kernel (2.0 against 0.28 G parameters/s on a CPU core)."
    )

    @model_validator(mode="after")
    def _check(self) -> OptimizerConfig:
        decays = {"beta1": self.beta1, "beta2": self.beta2}
        if self.kind == "muon":
            decays["momentum"] = self.momentum
        slow = {name: value for name, value in decays.items() if value > BF16_DECAY}
        if self.moments == "bf16" and slow:
            name, value = next(iter(slow.items()))
            raise ValueError(
                f"moments=bf16 does not go with {name}={value}: an update changes such a moment by "
                f"less than bf16 resolves, so that it would stay as it is; set {name} to "
                f"{BF16_DECAY} or less, or moments to fp32"
            )
        return self


class CheckpointConfig(Section):
    """Mid-stage checkpoints: where a killed stage goes on. They change no output."""

    every_steps: int = runtime(
        200, "Optimizer steps between two checkpoints. 0: none within the stage.", ge=0
    )
    keep: int = runtime(
        2,
        "Checkpoints kept; two, so that a damaged newest one costs little. Up to two more are kept "
        "where the guard might have to go back further.",
        ge=1,
    )
    asynchronous: bool = runtime(
        True,
        "Write checkpoints in a thread while training goes on. Rank 0 then holds a copy of the "
        "state in host memory until it is on disk: 12 bytes a parameter with AdamW. Off: training "
        "waits, and rank 0 holds one tensor at a time.",
    )


class GuardConfig(Section):
    """Skip bad updates before they happen; go back when that does not help.

    A loss or gradient norm that is not finite is always skipped. A finite one is skipped when it
    lies `sigma` standard deviations above the mean of the last `window` accepted steps. When more
    than `max_skips` steps within the window were skipped, the weights may be what is bad: training
    goes back to before the first of them, and on without the data from there to the last of them.
    Source of the defaults: OLMo-core's SkipStepOptimizer (6 sigma over 128 steps); going back past
    the batches before and during a spike: PaLM (arXiv 2204.02311), section 5.1.
    """

    sigma: float = Field(
        6.0,
        ge=0,
        description="Standard deviations above the mean that count as a spike. 0: only non-finite "
        "values are skipped.",
    )
    window: int = Field(
        128,
        ge=8,
        description="Accepted steps that mean and deviation are taken over; nothing finite is "
        "skipped before half of them are there.",
    )
    max_skips: int = Field(
        10,
        ge=0,
        description="Skipped steps within `window` steps that are borne; one more and training "
        "goes back.",
    )
    max_rewinds: int = Field(
        2,
        ge=0,
        description="Times that a stage goes back. Once more, and it stops with an error that "
        "names the documents.",
    )
    rewind_margin: int = Field(
        0,
        ge=0,
        description="Steps before the first skipped one whose data is left out as well when "
        "training goes back: what made the weights bad may lie there (PaLM: about 100).",
    )


class TrainConfig(Section):
    """What all stages of a run share.

    The number of ranks is no part of it: a result is bit-equal on the same number of ranks and
    equal within rounding on another, so it belongs to `runtime` and is recorded in the metrics.
    """

    batch_sequences: int = Field(
        16, ge=1, description="Sequences in one optimizer step, over all ranks."
    )
    micro_batch: int = Field(
        4,
        ge=1,
        description="Sequences in one forward pass of one rank. Identity, because it decides the "
        "order of summation.",
    )
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="Optimizer.")
    grad_clip: float = Field(
        1.0,
        ge=0,
        description="Largest global L2 norm of the gradient; larger ones are scaled down. 0: no "
        "clipping.",
    )
    zero_stage: Literal[1, 2, 3] = Field(
        1,
        description="ZeRO stage: 1 shards optimizer state, 2 also gradients, 3 also weights. 0 is "
        "not offered: DeepSpeed then starts Adam one step late in bf16.",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="Type of weights and activations; optimizer state and master weights are "
        "always fp32.",
    )
    gradients: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="Type in which gradients add up over micro-batches and ranks in bf16 "
        "training. bf16 takes 2 to 4 bytes a weight less, and loses nothing where a step is one "
        "micro-batch on one rank.",
    )
    compile: bool = Field(
        False,
        description="Compile the decoder layers with torch.compile; the first step then takes "
        "minutes. Identity, because fused kernels round otherwise.",
    )
    seed: int | None = Field(
        None, description="Seed of the initial weights. Empty: the run's seed."
    )
    start: str = runtime(
        "",
        "Local folder of weights that the first stage starts from, ours or Hugging Face's "
        "DeepSeek-V3, in any number of files. Its content is part of the step's identity, its "
        "place is not. Empty: fresh weights.",
    )
    checkpoint: CheckpointConfig = Field(CheckpointConfig(), description="Mid-stage checkpoints.")
    guard: GuardConfig = Field(GuardConfig(), description="Skipping of bad updates.")
    monitor: MonitorConfig = Field(
        MonitorConfig(), description="What is watched: replicas, stalls, experts, speed."
    )
    parallel: ParallelConfig = Field(ParallelConfig(), description="Model parallelism.")

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.batch_sequences % self.micro_batch:
            raise ValueError(
                f"batch_sequences={self.batch_sequences} is not a multiple of "
                f"micro_batch={self.micro_batch}: change one of them"
            )
        if self.gradients == "bf16" and self.precision != "bf16":
            raise ValueError(
                f"gradients=bf16 does not go with precision={self.precision}, whose gradients are "
                "made in fp32 and would be kept twice: set precision to bf16, or gradients to fp32"
            )
        if self.gradients == "bf16" and self.parallel.pipeline > 1:
            raise ValueError(
                f"gradients=bf16 does not go with parallel.pipeline={self.parallel.pipeline}, "
                "whose many micro-batches add up before each update: set gradients to fp32"
            )
        if self.parallel.pipeline > 1 and self.zero_stage > 1:
            raise ValueError(
                f"parallel.pipeline={self.parallel.pipeline} does not go with zero_stage="
                f"{self.zero_stage}: gradients and weights are needed whole until the last "
                "micro-batch of a schedule; set zero_stage to 1"
            )
        if self.parallel.pipeline > 1 and self.optimizer.kind == "muon":
            raise ValueError(
                f"parallel.pipeline={self.parallel.pipeline} does not go with optimizer.kind=muon, "
                "which looks matrices up in a whole model: use adamw"
            )
        if self.compile and self.parallel.pipeline > 1:
            raise ValueError(
                f"compile does not go with parallel.pipeline={self.parallel.pipeline}: compiled "
                "layers were not tested under a schedule; set one of them to its default"
            )
        if self.compile and self.zero_stage == 3:
            raise ValueError(
                "compile does not go with zero_stage=3, which fetches weights in hooks that a "
                "compiled layer leaves out: set zero_stage to 1 or 2, or compile to false"
            )
        if self.optimizer.kind == "muon" and self.zero_stage == 3:
            raise ValueError(
                "optimizer.kind=muon does not go with zero_stage=3, which cuts weights into parts "
                "that no rank can put together: set zero_stage to 1 or 2, or use adamw"
            )
        return self

    @property
    def n_micro(self) -> int:
        """Micro-batches in an optimizer step, over all ranks."""
        return self.batch_sequences // self.micro_batch


class TrainStepConfig(Section):
    """Configuration of the step `train-{stage}`."""

    stage: str = Field(description="Name of the curriculum stage.")
    index: int = Field(0, ge=0, description="Position of the stage in the curriculum, from 0.")
    tokens: Count = Field(
        ge=1, description="Tokens to train on in this stage; rounded down to whole steps."
    )
    sequence_length: int = Field(ge=8, description="Tokens in a training sequence.")
    schedule: ScheduleConfig = Field(ScheduleConfig(), description="Learning rate of the stage.")
    model: ModelConfig = Field(description="Architecture.")
    train: TrainConfig = Field(TrainConfig(), description="What all stages share.")

    @property
    def tokens_per_step(self) -> int:
        """Tokens in an optimizer step."""
        return self.train.batch_sequences * self.sequence_length

    @property
    def n_steps(self) -> int:
        """Optimizer steps of the stage."""
        return self.tokens // self.tokens_per_step

    @model_validator(mode="after")
    def _check(self) -> TrainStepConfig:
        if self.n_steps < 1:
            raise ValueError(
                f"tokens={self.tokens} is less than one step of {self.tokens_per_step} tokens "
                "(batch_sequences x sequence_length): raise tokens or lower batch_sequences"
            )
        if obstacle := pipeline_obstacle(self.model, self.train.parallel):
            raise ValueError(": ".join(obstacle))
        shared, experts = self.train.parallel.expert_parallel, self.model.n_routed_experts
        if experts % shared:
            raise ValueError(
                f"train.parallel.expert_parallel={shared} does not divide "
                f"model.n_routed_experts={experts}: every rank holds an equal part of the experts, "
                "so choose a divisor"
            )
        if self.schedule.warmup_tokens >= self.tokens:
            raise ValueError(
                f"schedule.warmup_tokens={self.schedule.warmup_tokens} leaves nothing of the "
                f"stage's {self.tokens} tokens: shorten the warmup"
            )
        return self
