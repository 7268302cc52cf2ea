"""Answers of mathematics: finding them in solutions, and telling whether two are equal.

answers     the final answer of a solution; equality as text, as numbers, member by member
equality    equality by algebra, in a process that can be killed
pool        many comparisons at once, each with its own clock
"""

from openseek.mathematics.answers import boxed, concluded, equal, final_answer, same_answer
from openseek.mathematics.pool import Comparison, MathPool

__all__ = ["Comparison", "MathPool", "boxed", "concluded", "equal", "final_answer", "same_answer"]
