"""What a stage is trained on, in which order, and whether that is what was meant.

    plan.py    weights and token counts -> exact sequences by group (no data needed)
    audit.py   shares by category, source, language, tier and domain; warnings; lists of weights
    order.py   (seed, position) -> group and sequence: exact, seekable, without state
    step.py    step `mix`: writes mixture.json
    stream.py  a group's documents as one run of tokens
    data.py    batches for training from mixture.json and the token shards

Alone:

    data = StageData.from_folders(Path("tokens"), Path("mixture"))
    batch = data.batch(step=0, batch_size=64)    # tokens_BT1, doc_BT1, category_B
    audit("mix_100b.csv").findings               # "64.5 % of the tokens are chain of thought; …"
"""

from openseek.mixture.audit import AuditReport, audit, audit_plan
from openseek.mixture.data import Batch, StageData, materialise
from openseek.mixture.plan import Bucket, Finding, GroupPlan, StagePlan, plan_stage
from openseek.mixture.step import mix, read_buckets

__all__ = [
    "AuditReport",
    "Batch",
    "Bucket",
    "Finding",
    "GroupPlan",
    "StageData",
    "StagePlan",
    "audit",
    "audit_plan",
    "materialise",
    "mix",
    "plan_stage",
    "read_buckets",
]
