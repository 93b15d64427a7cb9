-- Made from sql/ by python -m ser_tasks.query.dbt_project: change sql/, then run it again.
-- How much do agents speak and interrupt in their calls, each with enough calls?
-- Grain: one row per agent with at least min_calls_by_agent() calls, and one without agent that counts the agents who have fewer.
-- Units: calls counted once, _s in seconds, shares 0 to 1, interruptions per hour of the calls.
-- The minimum is 10, or SER_MIN_CALLS_BY_AGENT: figures of fewer calls would describe single calls.
-- No emotion is here. That of agents is never inferred (AI Act, Art. 5(1)(f)), and that of their callers says nothing certain about them.
WITH agents AS (
    SELECT
        agent_pseudonym,
        count(*) AS calls,
        count(DISTINCT call_date) AS days,
        avg(duration_s) AS mean_duration_s,
        sum(agent_speech_s) / nullif(sum(duration_s) FILTER (agent_speech_s IS NOT NULL), 0) AS share_agent_speech,
        sum(interruptions_by_agent) * 3600 / nullif(sum(duration_s) FILTER (interruptions_by_agent IS NOT NULL), 0) AS interruptions_per_h
    FROM {{ ref('counted_calls') }} AS counted_calls
    WHERE agent_pseudonym IS NOT NULL
    GROUP BY agent_pseudonym
)
SELECT
    agent_pseudonym, -- pseudonym of the agent; null in the row that counts those who are not shown
    calls, -- calls of the agent, of any outcome with a row in call_emotions
    days, -- days on which the agent had calls
    mean_duration_s, -- mean duration of a call
    share_agent_speech, -- the agent's speech as a share of the calls' duration
    interruptions_per_h, -- interruptions of the customer by the agent, per hour of the calls
    agents_not_shown, -- agents with fewer calls than the minimum, in the row without agent
    note -- says how many agents are not shown
FROM (
    SELECT *, NULL::BIGINT AS agents_not_shown, NULL::VARCHAR AS note FROM agents WHERE calls >= min_calls_by_agent()
    UNION ALL BY NAME
    SELECT count(*) AS agents_not_shown, format('{} agents with fewer than {} calls are not shown', count(*), min_calls_by_agent()) AS note
    FROM agents WHERE calls < min_calls_by_agent() HAVING count(*) > 0
)
ORDER BY calls DESC NULLS LAST, agent_pseudonym
