"""A run made up of plausible figures: the shape of a whole demo run, without running it."""

import hashlib
import math
import random

from openseek.evaluation.board import build_board
from openseek.evaluation.calibration import calibration
from openseek.evaluation.specialisation import specialisation
from openseek.report.record import RunRecord, StepRecord

STAGES = ("foundation", "specialization", "integration")
SOURCES = {
    "python-docs": ("foundation", "en", "PSF-2.0", 9_800_000, 4120),
    "debian-handbook": ("foundation", "en", "CC-BY-SA-3.0 OR GPL-2.0", 4_100_000, 1310),
    "debian-zh": ("foundation", "zh-Hans", "CC-BY-SA-3.0", 3_900_000, 1820),
    "gutenberg-sample": ("foundation", "en", "public-domain", 3_300_000, 940),
    "fortunes": ("foundation", "en", "unknown", 820_000, 2600),
    "chinese-classics": ("foundation", "zh-Hant", "public-domain", 610_000, 880),
    "stdlib-code": ("code", "code", "PSF-2.0", 6_200_000, 1480),
    "sympy-code": ("code", "code", "BSD-3-Clause", 2_900_000, 610),
    "sympy-docs": ("math", "en", "BSD-3-Clause", 1_700_000, 520),
    "gsm-like": ("math", "en", "MIT", 900_000, 3900),
    "qa-threads": ("cot", "en", "CC-BY-SA-4.0", 1_100_000, 1700),
}
KEPT = {
    "ingest": 1.0,
    "clean": 0.91,
    "dedup": 0.78,
    "score": 0.72,
    "split": 0.70,
    "decontaminate": 0.698,
}
HOSTILE = "<script>alert('x')</script> & <img src=https://evil.example/x.png onerror=alert(1)>"


def _key(name):
    return hashlib.sha256(name.encode()).hexdigest()


def _counts(before, after):
    by_source = {}
    for i, (name, (_, _, _, size, docs)) in enumerate(SOURCES.items()):
        a, b = before * (1 - 0.01 * (i % 3)), after * (1 - 0.02 * (i % 4))
        by_source[name] = {
            "documents_in": round(docs * a),
            "documents_out": round(docs * min(a, b)),
            "bytes_in": round(size * a),
            "bytes_out": round(size * min(a, b)),
        }
    total = {
        k: sum(v[k] for v in by_source.values())
        for k in ("documents_in", "documents_out", "bytes_in", "bytes_out")
    }
    return {
        **total,
        "by_source": by_source,
        "dropped": {},
        "changed": {},
        "quarantined": {},
        "samples": {},
    }


def _sample(text, **more):
    return {"id": _key(text)[:32], "source": "python-docs", "text": text, **more}


def data_metrics():
    names = list(KEPT)
    found = {}
    for i, name in enumerate(names):
        found[name] = _counts(KEPT[names[i - 1]] if i else 1.0, KEPT[name])
    found["ingest"]["quarantined"] = {"invalid UTF-8": 3, "not JSON": 1, "line too long": 1}
    found["ingest"]["sources"] = [
        {
            "name": n, "category": c, "lang": lang, "license": lic, "from": f"{n} 1.2.3",
            "files": 40 + len(n), "missing": "",
        }
        for n, (c, lang, lic, _, _) in SOURCES.items()
    ]  # fmt: skip
    found["ingest"]["sources"].append(
        {
            "name": "openseek-100b", "category": "foundation", "lang": "en",
            "license": "Apache-2.0", "from": "", "files": 0,
            "missing": "path does not exist: s3://corpus/openseek",
        }
    )  # fmt: skip
    found["clean"] |= {
        "dropped": {
            "too_short": 812,
            "repetition": 240,
            "not_language": 91,
            "sensitive": 14,
            "stop_words": 66,
        },
        "changed": {"traditional_to_simplified": 880, "email": 151, "ip_address": 22},
        "masked": {"email": 203},
        "flagged": {"medical": 4},
        "lengths_in": {"64": 900, "512": 4100, "4096": 3100, "32768": 40},
        "lengths_out": {"512": 4000, "4096": 3000, "32768": 38},
        "languages": {"en": 5200, "zh-Hans": 1838},
        "samples": {
            "repetition": [_sample("buy now buy now buy now " * 9, score=0.8312)],
            "too_short": [_sample(HOSTILE)],
        },
    }
    found["dedup"] |= {
        "dropped": {"exact": 1190, "near": 620},
        "clusters": {
            "number": 515,
            "sizes": {"2": 410, "3": 77, "4": 21, "5": 6, "11": 1},
            "largest": [11, 5, 5, 5, 4],
        },
        "pairs": {"candidates": 1430, "similar": 1102},
        "cluster_samples": [
            {
                "reason": "near",
                "kept": _sample("The quick brown fox jumps over the lazy dog, and so on."),
                "removed": _sample("The quick brown fox jumped over the lazy dog, and so on."),
            },
            {
                "reason": "exact",
                "kept": _sample("Permission is hereby granted, free of charge"),
                "removed": _sample("Permission is hereby granted, free of charge"),
            },
        ],
    }
    rng = random.Random(3)
    found["classifier"] = {
        "teacher": ["heuristic"],
        "agreement": {
            "all": {
                "documents": 118, "accuracy": 0.7413, "accuracy_constant": 0.379,
                "within_one": 0.99, "f1": 0.9791, "spearman": 0.8524,
                "confusion": [[9, 2, 0], [3, 40, 8], [0, 6, 50]],
            },
            "zh": {"documents": 0, "accuracy": 0.0, "f1": 0.0, "spearman": None},
        },
    }  # fmt: skip
    found["domains"] = {
        "labels": ["law", "science"],
        "agreement": {
            "documents": 61, "accuracy": 0.9344, "accuracy_constant": 0.5, "macro_f1": 0.9312,
            "labels": {
                "law": {"documents": 30, "precision": 0.9, "recall": 0.93, "f1": 0.9153},
                "science": {"documents": 31, "precision": 0.97, "recall": 0.94, "f1": 0.9471},
            },
            "confusion": [[28, 2], [2, 29]],
            "decided": {"0.5": {"share": 1.0, "accuracy": 0.9344}},
        },
    }  # fmt: skip
    found["score"] |= {
        "domains": {
            "en": {"science": 40, "code": 90, "general": 4000},
            "zh": {"science": 3, "history": 11},
        },
        "dropped": {"perplexity": 812},
        "tiers": {
            f"{c}/{lang}": {
                "high": rng.randint(150, 400),
                "medium": rng.randint(400, 700),
                "low": rng.randint(200, 500),
            }
            for c, lang in (
                ("code", "code"),
                ("cot", "en"),
                ("foundation", "en"),
                ("foundation", "zh-Hans"),
                ("math", "en"),
            )
        },
        "score_histogram": {
            s: [
                round(60 * math.exp(-((b / 40 - 0.55) ** 2) / 0.05) * rng.uniform(0.7, 1.2))
                for b in range(40)
            ]
            for s in SOURCES
        },
        "samples": {"perplexity": [_sample("0x3f 0x8a 0x11 zq;;lk", bits_per_char=7.313)]},
    }
    found["split"] |= {"dropped": {"held out for evaluation": 340}}
    found["decontaminate"] |= {
        "dropped": {"benchmark": 7, "heldout": 21},
        "items": dict.fromkeys(TASKS, 200),
        "items_too_short": 44,
        "documents_by_task": {"arc_easy": 5, "hellaswag": 2, "heldout": 21},
        "samples": {
            "benchmark": [
                _sample(
                    "which of these is the main source of energy for the water cycle",
                    task="arc_easy",
                    item="Mercury_7",
                    share=0.82,
                )
            ]
        },
    }
    return found


TASKS = (
    "hellaswag",
    "piqa",
    "arc_easy",
    "arc_challenge",
    "winogrande",
    "boolq",
    "openbookqa",
    "mmlu",
    "cloze-code",
    "cloze-foundation",
)
CHANCE = (0.25, 0.5, 0.25, 0.25, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25)


def train_metrics(stage, index):
    rng = random.Random(index)
    n, per_step = 240 - 60 * index, 8192
    curve = []
    for i in range(n):
        t = i / n
        base = (3.1 + 5.9 * math.exp(-5 * t)) if index == 0 else 3.25 - 0.35 * index - 0.35 * t
        lr = (
            1e-3 * (min(1, (i + 1) / 20) if index == 0 else 1.0) * (1 if index < 2 else 1 - 0.9 * t)
        )
        curve.append(
            {
                "step": i,
                "tokens": (i + 1) * per_step,
                "lr": lr,
                "loss": base * 1.1 + rng.gauss(0, 0.06),
                "parts": {"ce": base + rng.gauss(0, 0.07), "mtp": base + 0.6, "mtp_1": base + 0.6},
                "by_category": {
                    c: base + d + rng.gauss(0, 0.12)
                    for c, d in (("foundation", 0.3), ("code", -0.6), ("math", -0.2), ("cot", 0.05))
                    if rng.random() > 0.1
                },
                "grad_norm": 0.6
                + 4 * math.exp(-9 * t) * (index == 0)
                + abs(rng.gauss(0, 0.12))
                + (3 if i == 90 else 0),
                "expert_load": {
                    f"layers.{k}.ffn": 1.05
                    + (1.9 / k) * math.exp(-4 * t) * (1 if index == 0 else 0.2)
                    + rng.random() * 0.1
                    for k in (1, 2, 3)
                },
                "router_entropy": {f"layers.{k}.ffn": 1 - 0.2 * math.exp(-4 * t) for k in (1, 2)},
                "router_bias": {f"layers.{k}.ffn": [-0.01 * t, 0.02 * t] for k in (1, 2)},
                "skipped": "spike: gradient norm" if (index, i) == (0, 91) else None,
            }
        )
    return {
        "stage": stage,
        "index": index,
        "tokens": n * per_step,
        "steps": n,
        "loss_first": curve[0]["loss"],
        "loss_last": curve[-1]["loss"],
        "loss_tail": curve[-1]["loss"],
        "grad_norm_tail": 0.71,
        "expert_load_tail": {f"layers.{k}.ffn": 1.1 + k / 40 for k in (1, 2, 3)},
        "skipped": [
            {
                "step": 91,
                "tokens": 92 * per_step,
                "reason": "spike: gradient norm 8.1",
                "rewind": 1,
                "documents": ["web-17", "web-18"],
                "n_documents": 31,
            }
        ]
        if index == 0
        else [],
        "rewinds": [{"rewind": 1, "first": 91, "last": 91}] if index == 0 else [],
        "alarms": [
            {"step": 120, "tokens": 1, "layer": "layers.2.ffn", "kind": "dead", "experts": [3, 5]}
        ]
        if index == 1
        else [],
        "mfu": 0.412,
        "speed_curve": [{"step": i, "tokens_per_s": 21000.0 + i} for i in range(0, n, 20)],
        "tokens_per_s": 21480.0 - 300 * index,
        "seconds": 91.0 - 20 * index,
        "world_size": 2,
        "device": "cpu",
        "peak_rss_bytes": 1_480_000_000,
        "curve": curve,
    }


def evaluate_metrics(index):
    rng = random.Random(10 + index)
    start = {"foundation": 2.31, "code": 1.74, "math": 2.02, "cot": 1.88}
    drop = {
        "foundation": (0, 0.02, 0.05),
        "code": (0, 0.22, 0.27),
        "math": (0, 0.12, 0.2),
        "cot": (0, 0.05, 0.24),
    }
    bpb = {c: v - drop[c][index] for c, v in start.items()}
    bpb["all"] = sum(bpb.values()) / 4
    scores = [
        {
            "task": t,
            "metric": "acc_norm",
            "value": CHANCE[i] + rng.uniform(-0.02, 0.03) + 0.06 * index * t.startswith("cloze"),
            "stderr": 0.031,
            "chance": CHANCE[i],
            "n": 200,
        }
        for i, t in enumerate(TASKS)
    ]
    rows = {s["task"]: {"value": s["value"], "stderr": s["stderr"]} for s in scores[:7]}
    return {
        "bpb": bpb,
        "bpb_by_lang": {"en": bpb["all"], "zh-Hans": 2.4, "code": bpb["code"]},
        "bpb_by_source": dict.fromkeys(SOURCES, bpb["all"]),
        "scores": scores,
        "missing": {"gsm8k": "no data offline"},
        "likelihood": {
            t: {"p_gold": CHANCE[i] + 0.01 * index, "stderr": 0.004, "bits_per_byte": 2.1}
            for i, t in enumerate(TASKS)
        },
        "headline": {
            "suite": "demo",
            "value": sum(r["value"] for r in rows.values()) / len(rows),
            "stderr": 0.0098,
            "rows": rows,
            "missing": ["gsm8k", "triviaqa", "ceval"],
            "complete": False,
        },
    }


def mix_metrics(index):
    target = ((0.75, 0.14, 0.08, 0.03), (0.5, 0.24, 0.16, 0.10), (0.42, 0.2, 0.15, 0.23))[index]
    rows = [
        {
            "name": c,
            "category": c,
            "weight_target": t,
            "weight": t + 0.004 * (-1) ** i,
            "tokens": round(t * 2e6),
            "available_tokens": 900_000 + 310_000 * i,
            "epochs": t * 2.2 / (0.9 + 0.3 * i),
        }
        for i, (c, t) in enumerate(zip(("foundation", "code", "math", "cot"), target, strict=True))
    ]
    return {
        "tokens": 2_000_000,
        "groups": rows,
        "n_sequences": 3906,
        "sequence_length": 512,
        "shares": {
            "category": {r["name"]: r["weight"] for r in rows},
            "source": {"python-docs": 0.4, "stdlib-code": 0.6},
            "lang": {"en": 1.0},
            "tier": {"high": 0.3, "": 0.7},
            "domain": {"science": 0.25, "general": 0.65, "": 0.1},
        },
        "warnings": [
            {
                "code": "epochs_high",
                "subject": "cot",
                "value": 5.2,
                "limit": 5.0,
                "message": "cot: 5.2 epochs, more than the usual 5: lower the weight",
            }
        ]
        if index == 2
        else [],
    }


class Evaluated:
    """A stage's evaluation without its items."""

    def __init__(self, name, metrics):
        self.name, self.metrics = name, metrics
        self.about, self.item_tasks = {}, []
        self.scores = {s["task"]: s for s in metrics["scores"]}


def board_of_stages():
    board = build_board([Evaluated(s, evaluate_metrics(i)) for i, s in enumerate(STAGES)])
    item = {"logprobs": [-4.0, -9.0], "bytes": [4, 4], "gold": 0}
    board["models"][-1]["calibration"] = calibration([item, {**item, "gold": 1}])
    row = next(iter({**board["models"][-1]["rows"], **board["models"][-1]["others"]}.values()))
    row |= {
        "clean": {"value": 0.25, "stderr": 0.03, "n": 190},
        "flagged": {"value": 0.5, "stderr": 0.16, "n": 10},
    }
    return board


def browsed_items():
    answers = [
        {"logprobs": [-9.5, -12.25], "p": [0.8, 0.2], "picked": 0, "right": True},
        {"logprobs": [-9.5, -8.125], "p": [0.4, 0.6], "picked": 1, "right": False},
    ]
    item = {
        "task": "piqa", "id": "5e1f", "group": "", "text": HOSTILE, "gold": 0, "answers": [],
        "choices": ["with a saw", HOSTILE], "disagree": True, "models": answers,
    }  # fmt: skip
    asked = {
        "task": "gsm8k", "id": "6a2b", "group": "", "text": "How many apples?", "gold": None,
        "choices": [], "answers": ["5"], "disagree": False,
        "models": [{"right": False, "logprobs": [], "output": "four"}] * 2,
    }  # fmt: skip
    models = ["specialization", "integration"]
    return {"models": models, "items": [item, asked], "left_out": 198, "total": 200}


def full_run():
    """All steps, all metrics."""
    data = data_metrics()
    order = [("benchmarks", {}), ("ingest", {})]
    before = "ingest"
    for name in ("clean", "dedup", "score", "split"):
        order.append((name, {"documents": before}))
        before = name
    order.insert(4, ("classifier", {"labels": "dedup"}))
    order.insert(5, ("domains", {"documents": "dedup"}))
    order += [
        ("decontaminate", {"documents": "split", "heldout": "split", "benchmarks": "benchmarks"}),
        ("synthesise", {"documents": "decontaminate"}),
        ("tokenizer", {"documents": "decontaminate", "synthetic": "synthesise"}),
        (
            "tokenise",
            {"documents": "decontaminate", "synthetic": "synthesise", "tokenizer": "tokenizer"},
        ),
    ]
    metrics = dict(data)
    metrics["benchmarks"] = {"items": 2000}
    metrics["synthesise"] = {
        "documents_in": 4000,
        "documents_out": 1450,
        "bytes_in": 4_000_000,
        "bytes_out": 2_100_000,
        "by_source": {
            "synthetic-qa": {
                "documents_in": 0,
                "documents_out": 1450,
                "bytes_in": 0,
                "bytes_out": 2_100_000,
            }
        },
        "teacher": "extractive",
        "requests": 3200,
        "repairs": 12,
        "prompt_tokens": 4_100_000,
        "completion_tokens": 900_000,
        "cost_usd": 1.34,
        "ledger": {"qa": {"model": "large-1", "requests": 3200, "cost_usd": 1.34}},
        "length_edges": [0, 100, 200, 400, 800],
        "samples": {
            "near_duplicate": [{"id": "cd" * 16, "source": "synthetic-qa", "text": HOSTILE}]
        },
        "verification": {
            "checks": ["length", "language", "near_duplicate", "code", "judge"],
            "undecided": 1,
            "sandbox": {"network": "namespace", "files": "landlock"},
            "reward": {"model": "rm", "rows": 90, "rejected": 9, "lowest_kept": {"math": -1.25}},
            "judge": {
                "judged": 60,
                "failed": 1,
                "grades": {"1": 5, "3": 30, "5": 25},
                "kept_good": 40,
                "kept_bad": 4,
                "rejected_good": 6,
                "rejected_bad": 10,
                "precision": 0.9091,
                "agreement": 0.8333,
                "kappa": 0.557,
                "by_reason": {"copied": [16, 6]},
                "by_recipe": {"qa": {"judged": 60, "precision": 0.9091, "agreement": 0.8333}},
                "model": "large-1",
                "usage": {"requests": 61, "prompt_tokens": 50_000},
            },
        },
        "recipes": {
            "qa": {
                "documents": 2000,
                "rows": 2100,
                "kept": 1450,
                "yield": 0.6905,
                "failed": {"schema": 3},
                "rejected": {"near_duplicate": 400, "ungrounded": 247, "contaminated": 3},
                "usage": {"requests": 3200, "prompt_tokens": 4_100_000},
                "lengths": [0, 250, 900, 250, 50],
                "tasks": 30,
                "side_by_side": [
                    {
                        "id": "ab" * 16,
                        "source": "python-docs",
                        "excerpt": "list.sort sorts in place and returns None. " + HOSTILE,
                        "text": "Question: what does list.sort return? Answer: None.",
                    }
                ],
            }
        },
        "dropped": {"near_duplicate": 400, "ungrounded": 250},
        "quarantined": {"timeout": 2},
    }
    metrics["tokenizer"] = {
        "vocab_size": 8192, "trained": True, "sample_bytes": 20_000_000, "sample_documents": 9000
    }  # fmt: skip
    metrics["tokenise"] = {
        **_counts(0.698, 0.698),
        "vocab_size": 8192,
        "tokens": {
            "total": 6_310_000,
            "by_category": {
                "foundation": 3_900_000,
                "code": 1_420_000,
                "math": 560_000,
                "cot": 430_000,
            },
            "by_lang": {"en": 3_300_000, "zh-Hans": 1_400_000, "code": 1_420_000, "und": 190_000},
        },
        "bytes_per_token": 3.61,
        "bytes_per_token_by_category": {"foundation": 3.7, "code": 3.2, "math": 3.1, "cot": 4.0},
        "unigram_nats_per_token": 7.14,
        "unigram_bits_per_byte": 2.85,
        "unigram_bits_per_byte_by_category": {
            "foundation": 2.9,
            "code": 3.02,
            "math": 3.12,
            "cot": 2.5,
        },
    }
    previous = None
    for i, stage in enumerate(STAGES):
        inputs = {"tokens": "tokenise", "mixture": f"mix-{stage}"}
        if previous:
            inputs["previous"] = previous
        order += [
            (f"mix-{stage}", {"tokens": "tokenise"}),
            (f"train-{stage}", inputs),
            (
                f"evaluate-{stage}",
                {
                    "model": f"train-{stage}",
                    "tokenizer": "tokenizer",
                    "heldout": "split",
                    "benchmarks": "benchmarks",
                },
            ),
        ]
        metrics |= {
            f"mix-{stage}": mix_metrics(i),
            f"train-{stage}": train_metrics(stage, i),
            f"evaluate-{stage}": evaluate_metrics(i),
        }
        metrics[f"train-{stage}"]["evaluated"] = [
            {"step": 40, "tokens": 100_000, "metrics": evaluate_metrics(i)}
        ]
        if i == len(STAGES) - 1:
            metrics[f"evaluate-{stage}"] |= {
                "browse": browsed_items(),
                "board": board_of_stages(),
                "experts": specialisation(
                    {"code": {"model.layers.1.mlp": [9, 1, 2, 4]},
                     "math": {"model.layers.1.mlp": [3, 5, 5, 3]}}
                ),
            }  # fmt: skip
        previous = f"train-{stage}"
    order.append(("export", {"model": previous, "tokenizer": "tokenizer"}))
    metrics["export"] = {
        "max_abs_logit_diff": 4.1e-6,
        "parameters_total": 13_420_000,
        "parameters_active": 6_910_000,
        "bytes": 27_000_000,
    }
    rng = random.Random(0)
    steps = [
        StepRecord(
            name,
            name.split("-")[0],
            "done",
            _key(name),
            round(rng.uniform(1, 12), 2) if "train" not in name else 88.4,
            inputs,
            {
                **metrics.get(name, {}),
                "_files": {
                    "n_files": 3,
                    "n_bytes": rng.randint(10**5, 10**7),
                    "n_rows": rng.randint(100, 5000),
                },
            },
            {
                "step": name,
                "version": 1,
                "key": _key(name),
                "content_digest": _key(name + "d"),
                "inputs": {},
                "provenance": {
                    "attempt": _key(name + "a")[:32],
                    "git_revision": "a1b2c3d4e5f6+dirty",
                    "host": "laptop",
                    "started": 1764000000.0 + 30 * i,
                },
            },
            [
                {"name": "hf/model.safetensors", "size": 27_000_000, "sha256": _key("m")},
                {"name": "hf/config.json", "size": 1240, "sha256": _key("c")},
            ]
            if name == "export"
            else [],
        )
        for i, (name, inputs) in enumerate(order)
    ]
    config = {
        "name": "demo",
        "seed": 17,
        "sequence_length": 512,
        "sources": [
            {"name": n, "category": c, "lang": lang, "license": lic, "reader": "text"}
            for n, (c, lang, lic, _, _) in SOURCES.items()
        ]
        + [
            {
                "name": "openseek-100b",
                "category": "foundation",
                "lang": "en",
                "license": "Apache-2.0",
                "reader": "parquet",
            }
        ],
        "model": {"hidden_size": 256, "n_routed_experts": 16},
        "stages": {s: {"tokens": 2_000_000} for s in STAGES},
    }
    machine = {
        "host": "laptop",
        "cpu": "AMD EPYC 9B45",
        "cores": 2,
        "memory_bytes": 8_200_000_000,
        "python": "3.11.2",
        "packages": {
            "torch": "2.13.0",
            "ray": "2.60.0",
            "deepspeed": "0.19.8",
            "transformers": "5.23.0",
        },
    }
    return RunRecord("demo", "done", config, steps, "2025-11-24T16:00:00+00:00", 341.2, machine)


def bare_run():
    """The same steps without any figures."""
    steps = [StepRecord(s.name, s.kind, inputs=s.inputs) for s in full_run().steps]
    return RunRecord("bare", "running", {}, steps)
