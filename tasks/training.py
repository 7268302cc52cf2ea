"""Tasks that train."""

from tasks.binding import step_task

train = step_task("train", tags=["train"], retries=1, about="Train one stage with DeepSpeed.")
