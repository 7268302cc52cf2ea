"""A made row of each benchmark, in the columns of the hub's set, with the prompt it must give."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

KEYED = {"text": ["so", "thus", "hence"], "label": ["1", "2", "3"]}
MMLU = {
    "question": "Q?", "subject": "college_physics", "choices": ["w", "x", "y", "z"], "answer": 2,
}  # fmt: skip
PRO = {
    "question_id": 1, "question": "Q?", "category": "computer science", "answer": "J",
    "options": list("abcdefghij"), "answer_index": 9,
}  # fmt: skip
BOX = "Please reason step by step, and put your final answer within \\boxed{}."
MC = "The following are multiple choice questions (with answers) about"
TEN = "".join(f"{x}. {x.lower()}\n" for x in "ABCDEFGHIJ")

GOLDEN: dict[str, tuple[Row, str, list[str], int]] = {
    "hellaswag": (
        {
            "activity_label": "Roofing", "ctx_a": "A man [header] sits.", "ctx_b": "he",
            "ctx": "A man sits. he", "endings": ["jumps. [title] Then", "falls"], "label": "1",
        },
        "Roofing: A man sits. He ", [" jumps.. Then", " falls"], 1,
    ),
    "winogrande": (
        {
            "sentence": "Ann paid Bo as _ owed money.", "option1": "Ann", "option2": "Bo",
            "answer": "1",
        },
        "Ann paid Bo as ", ["Ann owed money.", "Bo owed money."], 0,
    ),
    "piqa": (
        {"goal": "Cut it", "sol1": "saw", "sol2": "sew", "label": 0},
        "Question: Cut it\nAnswer:", [" saw", " sew"], 0,
    ),
    "arc_easy": (
        {"question": "Why?", "answerKey": "2", "choices": KEYED},
        "Question: Why?\nAnswer:", [" so", " thus", " hence"], 1,
    ),
    "arc_challenge": (
        {"question": "Why?", "answerKey": "3", "choices": KEYED},
        "Question: Why?\nAnswer:", [" so", " thus", " hence"], 2,
    ),
    "openbookqa": (
        {"question_stem": "It rains", "answerKey": "1", "choices": KEYED},
        "It rains", [" so", " thus", " hence"], 0,
    ),
    "commonsenseqa": (
        {"question": "Where?", "answerKey": "2", "choices": KEYED},
        "Where?", [" so", " thus", " hence"], 1,
    ),
    "siqa": (
        {
            "context": "C.", "question": "Q?", "answerA": "a", "answerB": "b", "answerC": "c",
            "label": "3",
        },
        "C. Q?", [" a", " b", " c"], 2,
    ),
    "boolq": (
        {"passage": "It is.\nYes.", "question": "is it in the US", "answer": True},
        "It is.\nYes.\nQuestion: Is it in the us?\nAnswer:", [" No", " Yes"], 1,
    ),
    "mmlu": (
        MMLU,
        "The following are questions about college physics.\nQuestion: Q?\nAnswer:",
        [" w", " x", " y", " z"], 2,
    ),
    "mmlu_mc": (
        MMLU,
        f"{MC} college physics.\n\nQ?\nA. w\nB. x\nC. y\nD. z\nAnswer:",
        [" A", " B", " C", " D"], 2,
    ),
    "mmlu_pro": (
        PRO,
        "The following are questions about computer science.\nQuestion: Q?\nAnswer:",
        [f" {x}" for x in "abcdefghij"], 9,
    ),
    "mmlu_pro_mc": (
        PRO, f"{MC} computer science.\n\nQ?\n{TEN}Answer:", list("ABCDEFGHIJ"), 9,
    ),
    "cmmlu": (
        {"Question": "谁？", "A": "甲", "B": "乙", "C": "丙", "D": "丁", "Answer": "B",
         "subject": "agronomy"},
        "以下是关于农学的单项选择题，请直接给出正确答案的选项。\n题目：谁？\n答案是：",
        [" 甲", " 乙", " 丙", " 丁"], 1,
    ),
    "ceval": (
        {"question": "谁？", "choices": ["甲", "乙", "丙", "丁"], "answer": 3, "subject": "law"},
        "以下是中国关于法学考试的单项选择题，请选出其中的正确答案。\n题目：谁？\n答案：",
        [" 甲", " 乙", " 丙", " 丁"], 3,
    ),
    "triviaqa": (
        {"question": "Which?", "answer": {"value": "U.K.", "aliases": ["U.K.", "Britain"]}},
        "Question: Which?\nAnswer:", [], -1,
    ),
    "gsm8k": (
        {"question": "2+2?", "answer": "It is <<2+2=4>>4.\n#### 4"},
        "Question: 2+2?\nAnswer:", [], -1,
    ),
    "math500": (
        {"problem": "Half of 1?", "solution": r"It is $\boxed{\frac12}$.", "answer": r"\frac12"},
        f"Half of 1?\n{BOX}\n\n", [], -1,
    ),
    "minerva_math": ({"question": "1+1?", "answer": "2"}, f"1+1?\n{BOX}\n\n", [], -1),
    "amc23": ({"question": "1+1?", "answer": 2.0}, f"1+1?\n{BOX}\n\n", [], -1),
    "aime24": ({"problem": "1+1?", "answer": "002"}, f"1+1?\n{BOX}\n\n", [], -1),
    "olympiadbench": (
        {
            "question": "1+1?", "final_answer": ["$2$"], "solution": ["See."], "unit": None,
            "language": "English",
        },
        f"1+1?\n{BOX}\n\n", [], -1,
    ),
}  # fmt: skip
