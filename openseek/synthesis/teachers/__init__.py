"""The teachers behind one protocol (`openseek.synthesis.teacher.Teacher`).

endpoints           one or several OpenAI-compatible endpoints: retries, time-outs, weights
endpoint            one of them: its health, its limits and how many requests it bears
limits              requests and tokens a minute; concurrency that follows the load
wire                requests and replies as JSON, what a status means
reset_headers       how long a server asks to wait
batches             prompts gathered into batches, for models in reach of this process
transformers_model  a model of transformers in this process
llama_cpp_model     a .gguf file in this process
vllm_engines        vLLM on the GPUs of a Ray cluster
"""

from __future__ import annotations

from openseek.config.teachers import TeacherConfig
from openseek.synthesis.teacher import Teacher


def build_teacher(config: TeacherConfig) -> Teacher:
    """Make the teacher that a configuration describes.

    Raises:
        ConfigError: A key, a package or a GPU that it needs is not there.
    """
    if config.kind == "openai":
        from openseek.synthesis.teachers.endpoints import EndpointTeacher

        return EndpointTeacher(config)
    if config.kind == "transformers":
        from openseek.synthesis.teachers.transformers_model import TransformersTeacher

        return TransformersTeacher(config)
    if config.kind == "llama_cpp":
        from openseek.synthesis.teachers.llama_cpp_model import LlamaCppTeacher

        return LlamaCppTeacher(config)
    if config.kind == "vllm":
        from openseek.synthesis.teachers.vllm_engines import VllmTeacher

        return VllmTeacher(config)
    from openseek.synthesis.extractive import ExtractiveTeacher

    return ExtractiveTeacher()


__all__ = ["build_teacher"]
