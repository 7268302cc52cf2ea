"""A model of transformers in the step's own process, on its GPU if there is one.

For small models and for machines without a server; a server (vLLM, llama.cpp) is faster for all
others. Prompts are padded on the left and generated in batches of `batch_size`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openseek.config.teachers import TeacherConfig
from openseek.errors import ConfigError
from openseek.synthesis.teacher import Reply, RowFailure
from openseek.synthesis.teachers.batches import BatchTeacher, Question


class TransformersTeacher(BatchTeacher):
    """Generate with a folder or hub id.

    Raises:
        ConfigError: There is no such model, or it has no chat template.
    """

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__(config)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        place = config.path or config.model
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(place, padding_side="left")
            model: Any = AutoModelForCausalLM.from_pretrained(place, dtype="auto")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no model for transformers ({type(error).__name__})", where=place,
                mend="Give a folder or hub id with weights and tokenizer in teacher.path.",
            ) from error  # fmt: skip
        if not tokenizer.chat_template:
            raise ConfigError(
                "the model has no chat template: it does not answer messages", where=place,
                mend="Take its instruct variant.",
            )  # fmt: skip
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer, self._model = tokenizer, model.to(device).eval()
        limit = getattr(model.config, "max_position_embeddings", None) or config.context_tokens
        self._most_prompt = int(limit) - config.max_tokens

    def answer(self, questions: Sequence[Question], lane: int) -> list[Reply | RowFailure]:
        """Generate one batch; prompts that are too long are refused."""
        texts = [
            self._tokenizer.apply_chat_template(
                list(q.messages), tokenize=False, add_generation_prompt=True
            )
            for q in questions
        ]
        lengths = [len(i) for i in self._tokenizer(texts, add_special_tokens=False)["input_ids"]]
        fits = [i for i, n in enumerate(lengths) if n <= self._most_prompt]
        answers: list[Reply | RowFailure] = [
            RowFailure("bad_request", f"a prompt of {n} tokens, {self._most_prompt} at most")
            for n in lengths
        ]
        if fits:
            prompt = questions[fits[0]].prompt
            made = self._generate([texts[i] for i in fits], prompt.stop, prompt.sample)
            for i, (text, tokens) in zip(fits, made, strict=True):
                answers[i] = Reply(text, lengths[i], tokens)
        return answers

    def _generate(
        self, texts: list[str], stop: tuple[str, ...], sample: int
    ) -> list[tuple[str, int]]:
        """Return the answers and their tokens; sampled ones depend on this batch alone."""
        import torch

        config, tokenizer = self.config, self._tokenizer
        given = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        options: dict[str, Any] = {"do_sample": config.temperature > 0}
        if config.temperature > 0:
            options |= {"temperature": config.temperature, "top_p": config.top_p, "top_k": 0}
        if stop:
            options |= {"stop_strings": list(stop), "tokenizer": tokenizer}
        torch.manual_seed(sum(map(len, texts)) + sample)
        with torch.inference_mode():
            made_BT = self._model.generate(
                **given.to(self._model.device), max_new_tokens=config.max_tokens,
                pad_token_id=tokenizer.pad_token_id, **options,
            )[:, given["input_ids"].shape[1] :]  # fmt: skip
        tokens_B = (made_BT != tokenizer.pad_token_id).sum(1).tolist()
        answers = tokenizer.batch_decode(made_BT, skip_special_tokens=True)
        return list(zip(answers, tokens_B, strict=True))
