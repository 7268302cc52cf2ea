"""Training of one curriculum stage: from token shards and a mixture to weights.

    step.py         the step `train-{stage}`: inputs, checkpoints, launch, result
    launch.py       parent: has ranks started, watches them, leaves none; failures.py explains
    spawner.py      child that has torch and DeepSpeed loaded and forks the ranks
    ray_train.py    child that has Ray Train start them; ray_rank.py runs in its workers
    torchrun.py     child that has torchrun or another command start them
    channel.py      events, heartbeat and stop through a folder; parent.py: the pipe of a child
    peers.py        ranks of different code are refused
    worker.py       a rank
    loop.py         a rank's loop over optimizer steps
    recovery.py     bad steps: skip, leave out, go back; guard.py decides
    batches.py      micro-batches of a step
    engine.py       a whole model under DeepSpeed; ds_pipeline.py: one in stages (pipeline.py)
    ds_engine.py    what both have in common; ds_config.py: DeepSpeed's keys
    optimizer.py    AdamW with a veto, for skipping bad updates
    state.py        full training state by parameter name, for any number of ranks
    writer.py       a rank writes checkpoints beside its loop
    checkpoints.py  the parent publishes them, keeps some, falls back
    figures.py, metrics.py   a step's figures over all ranks; metrics.jsonl and its summary
    schedule.py, guard.py    pure: learning rate, what to skip and how far to go back

Alone:

    learning_rate(ScheduleConfig(lr_peak=3e-4), step=10, n_steps=1000, tokens_per_step=4096)
    train(StepContext(config, {"tokens": FolderFiles("tokens"), "mixture": FolderFiles("mixture")},
                      FolderOutput("out"), RuntimeConfig()))

Importing this package loads neither torch nor DeepSpeed.
"""

from openseek.training.guard import Guard
from openseek.training.launch import close
from openseek.training.schedule import learning_rate, warmup_steps
from openseek.training.step import train

__all__ = ["Guard", "close", "learning_rate", "train", "warmup_steps"]
