"""What each worker process needs of its first recording on, loaded once in the process that workers are forked from."""

from ser_tasks.loading import without_collection

with without_collection():
    import scipy.signal  # noqa: F401
    import silero_vad  # noqa: F401

    import ser_tasks.inference.scorer
    import ser_tasks.pipeline.extract  # noqa: F401
