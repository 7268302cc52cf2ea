"""New training documents from old ones, by a teacher.

teacher             what a teacher is; asking it, parsing, one repair turn
teachers            endpoints over HTTP, and models in this process or on a cluster's GPUs
session             asking from the step's process: one cache, budget and limits for all its work
asking              what lies between: request_cache, budget (and what tokens cost: prices)
projection          requests, tokens and money of a step before it runs
extractive          a teacher by rule, offline (its patterns: extractive_rules)
recipes             one file each: prompts, shape of the answers, what becomes of them
generate            a recipe on documents with a teacher
verification        what a row must pass: the cascade of checks
outcomes            answers on disk
summary             yield, cost and samples, for the report
drawing, writing    documents for a recipe; its rows, checked and published
step                the step `synthesise` (pinning: its identity holds what paths name)
labelling           the step `label`: grades (grading) and domains (topics) of a sample
"""

from openseek.synthesis.generate import generate
from openseek.synthesis.recipes import RECIPES
from openseek.synthesis.rows import Row, SourceDocument, render
from openseek.synthesis.teacher import RowFailure, Teacher
from openseek.synthesis.teachers import build_teacher
from openseek.synthesis.verification import check_row

__all__ = [
    "RECIPES",
    "Row",
    "RowFailure",
    "SourceDocument",
    "Teacher",
    "build_teacher",
    "check_row",
    "generate",
    "render",
]
