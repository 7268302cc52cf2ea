"""What a synthetic row must pass, one file a check, cheap to dear.

cascade         the checks in their order, over all rows, resumable
rules           the cheap ones of one row: length, and those of
    language    its language is its document's
    alone       its query makes sense alone
    copying     it is not copied from its document
duplicates      it repeats no earlier row
mathematics     its short answer is what its worked answer and the votes reach
code            its tests are passed by its code, in the sandbox (jail: what runs inside)
reward          a reward model does not place it among the worst of its domain
judge           a language model's grades of a sample (judging: the pass over the rows)
findings        what the checks found, put together
"""

from openseek.synthesis.verification.rules import Finding, check_row, examine

__all__ = ["Finding", "check_row", "examine"]
