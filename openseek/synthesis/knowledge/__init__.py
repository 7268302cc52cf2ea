"""Knowledge: seed problems, what they are about, and samples of it for new problems.

seeds               seed problems of mathematics, code and commonsense (seeds.yaml, or a JSONL)
merging             names that mean the same become one
taxonomy            topics, key points and how often they occur together: knowledge.json
sampling            topics and key points for the i-th new problem, by (seed, i) alone
annotating          what `annotate` found in documents, for drawing by it

Source: Key-Point-Driven Data Synthesis (2403.02333). Here names are merged by shared letters where
no embedding model is given, and a sample depends on its index alone, so that work can be resumed.
"""
