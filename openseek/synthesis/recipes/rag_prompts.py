"""The wording of `long_cot_rag`."""

from __future__ import annotations

from pydantic import BaseModel

BEGIN_SEARCH, END_SEARCH = "<|begin_search_query|>", "<|end_search_query|>"
BEGIN_RESULT, END_RESULT = "<|begin_search_result|>", "<|end_search_result|>"


class Turn(BaseModel):
    """One turn where searches are asked for by JSON."""

    thought: str
    search: str = ""
    answer: str = ""


SYSTEM = {
    "en": "You reason step by step and look up what you do not know for certain.",
    "zh": "你逐步推理，没有把握的事实就去检索。",
}
TURN_FREE = {
    "en": """Question: {query}

You can search a collection of documents. Where you need a fact, write {begin}a few key words{end} \
and stop; you are then shown what the documents say. One search at a time.

Your reasoning so far, with what was found:
<<<
{reasoning}
>>>

Go on from there without repeating it. Either reason until you need a fact and search for it, or, \
if you know enough, finish with one last line of the form

Answer: the answer in one to four sentences""",
    "zh": """问题：{query}

你可以检索一个文档库。需要事实时，写出 {begin}几个关键词{end} 然后停下，\
你会看到文档中的内容。每次只检索一项。

目前为止的推理和检索到的内容：
<<<
{reasoning}
>>>

请接着往下推理，不要重复已有内容。要么推理到需要某个事实时检索，要么在已经足够时用最后一行作答，格式为

答案：用一到四句话作答""",
}
TURN_JSON = {
    "en": """Question: {query}

You can search a collection of documents, one search at a time.

Your reasoning so far, with what was found:
<<<
{reasoning}
>>>

Take the next step: what you think now, and either a search (a few key words) for a fact that you \
need, or the answer in one to four sentences if you know enough. Leave the other one empty.

Shape: {{"thought": "...", "search": "...", "answer": ""}}""",
    "zh": """问题：{query}

你可以检索一个文档库，每次一项。

目前为止的推理和检索到的内容：
<<<
{reasoning}
>>>

请走下一步：写出现在的想法；需要事实时给出检索词（几个关键词），已经足够时用一到四句话给出答案。\
另一项留空。

格式：{{"thought": "...", "search": "...", "answer": ""}}""",
}
READ = {
    "en": """Someone is reasoning about a question and searched for: {search}

The reasoning so far:
<<<
{reasoning}
>>>

Passages that were found:
<<<
{passages}
>>>

Write in one to four sentences what these passages say that helps the reasoning on. Keep to the \
passages. If nothing in them helps, write: Nothing helpful was found.""",
    "zh": """有人正在推理一个问题，并检索了：{search}

目前为止的推理：
<<<
{reasoning}
>>>

检索到的段落：
<<<
{passages}
>>>

请用一到四句话写出这些段落中有助于推理的内容，只依据段落本身。如果没有帮助，请写：没有找到有用的内容。""",
}
CLOSE = {
    "en": """Question: {query}

Your reasoning, with what was found:
<<<
{reasoning}
>>>

Give the answer that this reasoning leads to, in one to four sentences, and nothing else.""",
    "zh": """问题：{query}

你的推理和检索到的内容：
<<<
{reasoning}
>>>

请用一到四句话给出由此得到的答案，不要写其他内容。""",
}
FOUND = {"en": "(nothing yet)", "zh": "（尚无）"}
NOTHING = {"en": "Nothing helpful was found.", "zh": "没有找到有用的内容。"}
REPEATED = {
    "en": "This was searched before; see what was found then.",
    "zh": "此前已检索过，请看当时的结果。",
}
LIMIT = {"en": "There will be no more searches.", "zh": "不再进行检索。"}
