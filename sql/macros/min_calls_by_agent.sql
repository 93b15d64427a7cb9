-- Fewest calls of an agent about whom figures are shown. `ser_tasks/lake/catalog.py` replaces it by SER_MIN_CALLS_BY_AGENT.
CREATE MACRO min_calls_by_agent() AS 10
