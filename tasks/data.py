"""Tasks from sources to token shards."""

from tasks.binding import step_task

benchmarks = step_task("benchmarks", tags=["data"], retries=3, about="Fetch the evaluation sets.")
ingest = step_task("ingest", tags=["data"], retries=3, about="Read the sources into documents.")
clean = step_task("clean", tags=["data"], about="Normalise, filter and mask documents.")
dedup = step_task("dedup", tags=["data"], about="Drop exact and near duplicates.")
lines = step_task("lines", tags=["data"], about="Remove lines that occur often.")
substring = step_task("substring", tags=["data"], about="Cut passages that occur twice or more.")
label = step_task("label", tags=["synthesis"], retries=5, about="Have a teacher grade a sample.")
classifier = step_task("classifier", tags=["data"], about="Learn the grades; report the agreement.")
domains = step_task("domains", tags=["data"], about="Learn domains; report the accuracy.")
score = step_task("score", tags=["data"], about="Score quality and set tiers.")
split = step_task("split", tags=["data"], about="Set held-out documents aside.")
decontaminate = step_task(
    "decontaminate", tags=["data"], about="Drop what overlaps with the evaluation sets."
)
synthesise = step_task(
    "synthesise", tags=["synthesis"], retries=5, about="Make documents with a teacher."
)
tokenizer = step_task("tokenizer", tags=["data"], about="Train or fetch the tokenizer.")
tokenise = step_task("tokenise", tags=["data"], about="Turn documents into token shards.")
mix = step_task("mix", tags=["data"], about="Draw a stage's sequences and audit its mixture.")
