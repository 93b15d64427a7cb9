"""What each worker process needs of its first recording on, loaded once in the process that workers are forked from."""

import gc

gc.disable()  # objects of modules are never garbage: looking for some takes a fifth of the time to load them

import scipy.signal  # noqa: E402, F401
import silero_vad  # noqa: E402, F401

import ser_tasks.inference.scorer  # noqa: E402
import ser_tasks.pipeline.extract  # noqa: E402, F401

gc.freeze()  # nor is it looked for in workers, whose pages stay shared
gc.enable()
