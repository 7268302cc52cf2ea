"""The wording of `rephrase`, form by form."""

from __future__ import annotations

from openseek.config.recipes import RephraseKind

SYSTEM = {
    "en": "You rewrite documents for a collection that people study from. You keep to what the "
    "document says, and you output the rewritten text alone, without any remark of your own.",
    "zh": "你为学习用语料改写文档。你只依据文档内容，只输出改写后的文本，不加任何说明。",
}
_END = {"en": "\n\nDocument:\n<<<\n{document}\n>>>", "zh": "\n\n文档：\n<<<\n{document}\n>>>"}
_ASK: dict[RephraseKind, tuple[str, str]] = {
    "diverse_qa": (
        """Write up to {count} questions that the document answers, each with its answer. Mix the \
kinds: yes or no, what and who, why, how, comparison, definition, multiple choice with the choices \
in the question. Each question names its subject in full and can be understood without the \
document; each answer is complete and correct by the document. Two lines for each pair:

Question: ...
Answer: ...""",
        """请写出最多 {count} 个文档能够回答的问题，并附上答案。问题类型要混合：\
是非题、是什么和谁、为什么、怎么做、比较、定义，以及选项写在题目里的选择题。每个问题都写出完整的对象名称，不看文档也能理解；每个\
答案都完整，并符合文档内容。每组两行：

问题：……
答案：……""",
    ),
    "distill": (
        """Rewrite the document so that it says the same in fewer and clearer words. Keep every \
fact, number, name, example and formula that matters, keep the order of ideas, and leave out \
advertising, navigation and repetition. Do not add anything. Write running text in whole \
sentences.""",
        """请用更少、更清楚的文字改写文档，意思不变。保留所有重要的事实、数字、名称、例子和公式，保持原有的\
思路顺序，去掉广告、导航和重复。不要添加内容。用完整的句子写成连贯的文章。""",
    ),
    "extract_knowledge": (
        """Write down what a reader can learn from the document: facts, definitions, causes, \
procedures, and the reasons given for them. Leave out opinion, chatter, and whatever only concerns \
the web page or the people who wrote it. Explain each term where it first appears. Write it as a \
passage of a textbook, in running text.""",
        """请写出读者能从文档中学到的知识：事实、定义、原因、步骤，以及文中给出的理由。去掉个人观点、闲谈，\
以及只与网页或作者有关的内容。术语第一次出现时要解释。请写成教科书中的连贯段落。""",
    ),
    "knowledge_list": (
        """Turn what the document teaches into an organised list. Group related points under short \
headings; each point is one whole sentence with the facts, numbers and names it needs, and can be \
understood alone. Leave out what is not worth remembering.""",
        """请把文档中的知识整理成有条理的清单。把相关的要点归到简短的标题下；每个要点是一个完整的句子，\
包含所需的事实、数字和名称，并能独立理解。不值得记住的内容请省略。""",
    ),
    "wiki": (
        """Rewrite the document in the style of an encyclopedia: neutral, precise, in the third \
person, starting with a sentence that says what the subject is. Keep all facts of the document \
and add none.""",
        """请以百科全书的风格改写文档：中立、准确、使用第三人称，第一句先说明主题是什么。保留文档中的所有事实，\
不要添加内容。""",
    ),
}  # fmt: skip
USER: dict[RephraseKind, dict[str, str]] = {
    kind: {lang: words + _END[lang] for lang, words in zip(("en", "zh"), both, strict=True)}
    for kind, both in _ASK.items()
}
