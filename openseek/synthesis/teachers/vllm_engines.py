"""Offline vLLM: one engine for every `gpus_per_engine` GPUs of the Ray cluster, fed with batches.

An engine batches continuously, so large batches keep it busy: take a `batch_size` of a few hundred.
vLLM is no dependency of this package: it is imported in the engines' processes alone, and has to be
installed on the nodes with GPUs.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from openseek.config.teachers import TeacherConfig
from openseek.errors import ConfigError, TransientError
from openseek.synthesis.teacher import Reply, RowFailure
from openseek.synthesis.teachers.batches import BatchTeacher, Question
from openseek.synthesis.teachers.wire import held_to


class Engine:
    """One vLLM engine; a Ray actor."""

    def __init__(self, place: str, gpus: int, context_tokens: int) -> None:
        self._vllm = importlib.import_module("vllm")
        self._engine: Any = self._vllm.LLM(
            model=place, tensor_parallel_size=gpus, max_model_len=context_tokens
        )

    def answer(
        self, chats: list[list[dict[str, str]]], options: list[dict[str, Any]]
    ) -> list[tuple[str, int, int]]:
        """Answer chats; returns text, prompt tokens and completion tokens of each."""
        params = importlib.import_module("vllm.sampling_params")
        sampling = []
        for given in options:
            schema = given.pop("schema", None)
            held = params.StructuredOutputsParams(json=schema) if schema else None
            sampling.append(params.SamplingParams(**given, structured_outputs=held))
        made = self._engine.chat(chats, sampling, use_tqdm=False)
        return [
            (m.outputs[0].text, len(m.prompt_token_ids), len(m.outputs[0].token_ids)) for m in made
        ]


class VllmTeacher(BatchTeacher):
    """Generate on the cluster's GPUs.

    Raises:
        ConfigError: The cluster has no GPU, or its nodes have no vLLM.
    """

    def __init__(self, config: TeacherConfig) -> None:
        import ray

        if not ray.is_initialized():
            ray.init(address=None, log_to_driver=False, include_dashboard=False)
        gpus = int(ray.cluster_resources().get("GPU", 0)) // config.gpus_per_engine
        if not gpus:
            raise ConfigError(
                f"kind=vllm needs {config.gpus_per_engine} GPU(s) in the Ray cluster, which has "
                f"{int(ray.cluster_resources().get('GPU', 0))}",
                where="teacher.kind",
                mend="Join a cluster with GPUs (RAY_ADDRESS), or set kind=openai and the base_url "
                "of a server.",
            )
        super().__init__(config, lanes=gpus)
        actor: Any = ray.remote(num_gpus=config.gpus_per_engine)(Engine)
        place = config.path or config.model
        self._engines = [
            actor.remote(place, config.gpus_per_engine, config.context_tokens) for _ in range(gpus)
        ]

    def answer(self, questions: Sequence[Question], lane: int) -> list[Reply | RowFailure]:
        """Answer a batch on one engine."""
        import ray

        options = [self._options(q) for q in questions]
        chats = [list(q.messages) for q in questions]
        try:
            made = ray.get(self._engines[lane].answer.remote(chats, options))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ImportError):
                raise _no_vllm() from error
            raise
        except ray.exceptions.RayActorError as error:
            if "ModuleNotFoundError" in str(error):
                raise _no_vllm() from error
            raise TransientError(
                "an engine died", where=f"vllm engine {lane}",
                mend="Was it killed for memory? Lower context_tokens, then run it again.",
            ) from error  # fmt: skip
        return [Reply(*one) for one in made]

    def _options(self, question: Question) -> dict[str, Any]:
        config, prompt = self.config, question.prompt
        options: dict[str, Any] = {
            "temperature": config.temperature, "top_p": config.top_p, "seed": prompt.sample,
            "max_tokens": config.max_tokens, "stop": list(prompt.stop),
        }  # fmt: skip
        if prompt.schema is not None and config.structured != "none":
            options["schema"] = held_to(prompt)
        return options

    async def close(self) -> None:
        """Wait for the batches under way, then free the GPUs."""
        import ray

        await super().close()
        for engine in self._engines:
            ray.kill(engine)


def _no_vllm() -> ConfigError:
    return ConfigError(
        "the nodes with GPUs have no vLLM", where="teacher.kind", mend="pip install vllm on them."
    )
