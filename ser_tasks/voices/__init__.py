"""Mono calls: who speaks when, and who is the agent. Used under the policy ``customers_mono`` alone.

Vectors that tell voices apart live in the worker's memory for the length of one call: nothing here returns, stores, compares across calls
or logs them.
"""
