"""A .gguf file in the step's own process, by llama-cpp-python.

One prompt at a time: llama.cpp answers several at once only behind its server, which is a teacher
of kind `openai` (`python -m llama_cpp.server --model FILE`).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from openseek.config.teachers import TeacherConfig
from openseek.errors import ConfigError
from openseek.synthesis.teacher import Reply, RowFailure
from openseek.synthesis.teachers.batches import BatchTeacher, Question
from openseek.synthesis.teachers.wire import held_to, read_reply


class LlamaCppTeacher(BatchTeacher):
    """Generate with a .gguf file.

    Raises:
        ConfigError: The package is not installed, or the file cannot be loaded.
    """

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__(config.model_copy(update={"batch_size": 1}))
        self._where = config.path or config.model
        try:
            package = importlib.import_module("llama_cpp")
        except ImportError as error:
            raise ConfigError(
                "kind=llama_cpp needs the package llama-cpp-python, which is not installed",
                where="teacher.kind",
                mend="pip install llama-cpp-python, or start its server in an environment of its "
                "own and set kind=openai with the server's base_url.",
            ) from error
        try:
            self._model: Any = package.Llama(
                model_path=self._where, n_ctx=config.context_tokens, verbose=False
            )
        except (ValueError, OSError) as error:
            raise ConfigError(
                f"no model for llama.cpp: {error}", where=self._where,
                mend="Give a .gguf file in teacher.path.",
            ) from error  # fmt: skip

    def answer(self, questions: Sequence[Question], lane: int) -> list[Reply | RowFailure]:
        """Answer the one prompt of a batch."""
        prompt, config = questions[0].prompt, self.config
        options: dict[str, Any] = {}
        if prompt.schema is not None and config.structured != "none":
            options["response_format"] = {"type": "json_object"}
            if config.structured != "json_object":
                schema = held_to(prompt)
                options["response_format"]["schema"] = schema
        try:
            made = self._model.create_chat_completion(
                list(questions[0].messages), max_tokens=config.max_tokens, top_p=config.top_p,
                temperature=config.temperature, stop=list(prompt.stop), seed=prompt.sample,
                **options,
            )  # fmt: skip
            return [read_reply(made, self._where)]
        except ValueError as error:  # a prompt above the context
            return [
                RowFailure("bad_request", f"llama.cpp refuses a prompt: {type(error).__name__}")
            ]
        except RowFailure as failure:
            return [failure]
