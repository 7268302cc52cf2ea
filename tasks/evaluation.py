"""Tasks that measure, release and tell."""

from tasks.binding import step_task

evaluate = step_task("evaluate", tags=["evaluation"], about="Bits per byte and lighteval.")
export = step_task("export", tags=["release"], about="Write the Hugging Face folder.")
report = step_task("report", tags=["release"], about="Write the HTML report.")
