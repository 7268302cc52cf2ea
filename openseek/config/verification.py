"""What a synthetic row must satisfy: the cascade of checks, cheap to dear."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from openseek.config.base import Section, runtime
from openseek.config.teachers import TeacherConfig


class MathematicsCheck(Section):
    """Rows with a short answer (`final`): do the worked answer and the votes agree with it?"""

    enabled: bool = Field(True, description="Compare them; equality is mathematical, not textual.")
    min_agreement: float = Field(
        0.5,
        description="Least share of the voted solutions that reach `final`. Half: a majority, as "
        "in self-consistency voting (2203.11171) and KPDDS (2403.02333).",
        ge=0, le=1,
    )  # fmt: skip
    cpu_s: int = Field(
        5,
        description="Processor seconds for one comparison by algebra, then it is killed and counts "
        "as unequal. What sympy decides at all it decides in under one.",
        ge=1,
    )
    workers: int = runtime(1, "Processes of algebra for each data worker.", ge=1)


class CodeCheck(Section):
    """Rows with tests: are they passed by the answer's code, and by it only?"""

    enabled: bool = Field(True, description="Run answers and tests in the sandbox.")
    control: bool = Field(
        True,
        description="Run the tests without the answer too: tests that pass on nothing test "
        "nothing. Doubles the cost.",
    )
    cpu_s: int = Field(5, description="Processor seconds of each process.", ge=1)
    wall_s: float = Field(
        20.0, description="Seconds until a program is killed with all that it started.", gt=0
    )
    memory_mib: int = Field(1024, description="Address space of each process, MiB.", ge=64)
    file_mib: int = Field(16, description="Size of a file, MiB; of all files four times that.")
    processes: int = Field(16, description="Processes and threads of a program.", ge=1)
    output_kib: int = Field(64, description="Output after which a program is killed, KiB.", ge=1)
    strict: bool = runtime(
        True,
        "Fail where neither the network nor files outside can be closed to a program; False: run "
        "it all the same, and say so in the metrics.",
    )


class RewardCheck(Section):
    """A reward model's opinion of every row; the worst of each domain are rejected."""

    model: str = Field(
        description="Folder or hub id of a sequence classifier with one output, and its tokenizer.",
        min_length=1,
    )
    revision: str = Field("main", description="Hub revision.")
    drop_quantile: float = Field(
        0.1,
        description="Share of the rows of each domain that is rejected. A share and no absolute "
        "limit: rewards of different domains are on different scales.",
        ge=0, lt=1,
    )  # fmt: skip
    min_rows: int = Field(20, description="Domains with fewer rows are cut together, as one.", ge=1)
    max_tokens: int = Field(2048, description="Tokens of a row that are read.", ge=32)
    batch_size: int = runtime(16, "Rows in one forward pass.", ge=1)
    device: str = runtime("", "Torch device. Empty: cuda where there is one, else cpu.")


class JudgeCheck(Section):
    """A language model grades a sample of rows, kept and rejected ones."""

    share: float = Field(
        0.02,
        description="Share of the rows that is graded, drawn by a hash of (seed, row): 500 of "
        "25,000 give a rate to within 4 points.",
        gt=0, le=1,
    )  # fmt: skip
    rejected: bool = Field(
        True, description="Grade as large a share of the rejected rows, to see what is lost."
    )
    min_grade: int = Field(
        3, description="Rows graded lower are rejected (1 to 5; 3: right, with small flaws).",
        ge=1, le=5,
    )  # fmt: skip
    read_chars: int = Field(
        6000, description="Characters of the document, and of the row, that the judge sees.", ge=200
    )
    teacher: TeacherConfig | None = Field(
        None, description="Who grades. None: the teacher that wrote the rows (kinder to its own)."
    )


class VerificationConfig(Section):
    """What a synthetic row must satisfy, cheap checks first."""

    min_query_chars: int = Field(8, description="Shorter queries are rejected (4 in Chinese).")
    max_query_chars: int = Field(600, description="Longer queries are rejected.")
    max_task_chars: int = Field(
        4000, description="The same for problems and tasks, which come with their givens."
    )
    min_answer_chars: int = Field(20, description="Shorter answers are rejected (8 in Chinese).")
    min_text_chars: int = Field(100, description="Shorter rewritten documents are rejected.")
    max_chars: int = Field(20_000, description="Longer rendered rows are rejected.")
    min_steps: int = Field(3, description="Chains of fewer steps are rejected.", ge=1)
    language: float = Field(
        0.65,
        description="Rows of which the language model is at least so sure that they are in another "
        "language than their document are rejected (FineWeb's limit); 0: no check.",
        ge=0, le=1,
    )  # fmt: skip
    language_chars: int = Field(
        80, description="Shorter texts tell too little to be rejected for their language.", ge=1
    )
    stands_alone: bool = Field(
        True, description="Reject queries that point at a text which their reader has not."
    )
    copy_ngram: int = Field(
        8, description="Tokens of the n-grams that measure copying from the document.", ge=2
    )
    max_copy: float = Field(
        0.6,
        description="Rows with a larger share of copied n-grams are rejected; 1: no check.",
        ge=0, le=1,
    )  # fmt: skip
    check_copy_extractive: bool = Field(
        False,
        description="Apply max_copy to the extractive teacher too. It copies by nature, so this "
        "rejects nearly all of its rows.",
    )
    near_duplicate: float = Field(
        0.8,
        description="Rows whose query and answer are this similar (Jaccard of 3-token shingles) "
        "to an earlier row are rejected; 1: exact repeats only.",
        gt=0, le=1,
    )  # fmt: skip
    mathematics: MathematicsCheck = Field(
        default_factory=MathematicsCheck, description="Short answers, compared by rule."
    )
    code: CodeCheck = Field(default_factory=CodeCheck, description="Tests, run in a sandbox.")
    reward: RewardCheck | None = Field(None, description="Reward model. None: none.")
    judge: JudgeCheck | None = Field(None, description="Judge of a sample. None: none.")
    rejected_chars: int = Field(
        2000, description="Characters of each text that are kept of a rejected row.", ge=0
    )

    def checks(self) -> tuple[Check, ...]:
        """List the checks that are on, in their order."""
        on = {
            "language": self.language > 0, "stands_alone": self.stands_alone,
            "copied": self.max_copy < 1, "mathematics": self.mathematics.enabled,
            "code": self.code.enabled, "reward": self.reward is not None,
            "judge": self.judge is not None,
        }  # fmt: skip
        return tuple(check for check in CASCADE if on.get(check, True))


Check = Literal[
    "length", "language", "stands_alone", "copied", "near_duplicate", "mathematics", "code",
    "reward", "judge", "decontamination",
]  # fmt: skip
CASCADE: tuple[Check, ...] = (
    "length", "language", "stands_alone", "copied", "near_duplicate", "mathematics", "code",
    "reward", "judge", "decontamination",
)  # fmt: skip
"""The checks, cheap to dear. A row meets them in this order, and the first that it fails ends it;
its check of evaluation items is last because it looks at what would be published."""
