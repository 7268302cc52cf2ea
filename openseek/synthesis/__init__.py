"""New training documents from old ones, by a teacher.

teacher             what a teacher is; asking it, parsing, one repair turn
openai_teacher      any OpenAI-compatible endpoint
extractive          a teacher by rule, offline (its patterns: extractive_rules)
recipes             one file each: prompts, shape of the answers, what becomes of them
generate            a recipe on documents with a teacher
verification        what a row must pass
summary             yield, cost and samples, for the report
step                the step `synthesise`
labelling           the step `label`: grades (grading) and domains (topics) of a sample
"""

from openseek.synthesis.generate import generate
from openseek.synthesis.recipes import RECIPES
from openseek.synthesis.rows import Row, SourceDocument, render
from openseek.synthesis.teacher import RowFailure, Teacher, build_teacher
from openseek.synthesis.verification import NearDuplicates, check_row

__all__ = [
    "RECIPES",
    "NearDuplicates",
    "Row",
    "RowFailure",
    "SourceDocument",
    "Teacher",
    "build_teacher",
    "check_row",
    "generate",
    "render",
]
