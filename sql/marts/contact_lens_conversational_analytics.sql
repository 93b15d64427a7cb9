-- How did each call go, in the columns of Amazon Connect's table of this name?
-- Grain: one row per call (a call with two recordings counts once).
-- Units: _ms in milliseconds, sentiment_ -5 to 5.
-- For queries that were written for Contact Lens: the names and types are Amazon Connect's, what this pipeline does not know is null. Here,
-- sentiment is heard in the voice, there it is read from words: scores do not compare across the two. That of agents is never inferred.
SELECT
    NULL::VARCHAR AS aws_account_id, -- always null: no AWS account
    'post call' AS version, -- always post call: a night scores calls that have ended
    NULL::VARCHAR AS instance_id, -- always null: no Connect instance
    NULL::VARCHAR AS instance_arn, -- always null: no Connect instance
    call_id AS contact_id, -- call_id
    'VOICE' AS channel, -- always VOICE
    language AS language_locale, -- language of the call, as the source wrote it
    'contact_lens_conversational_analytics' AS feature, -- always the same, as in Connect
    NULL::VARCHAR[] AS categories, -- always null: no rules on words
    started_at + to_microseconds((duration_s * 1e6)::BIGINT) AS disconnect_timestamp, -- started_at and the recording's duration; null where the start is unknown
    NULL::BIGINT AS greeting_time_agent_ms, -- always null: of chats only
    (silence_s * 1000)::BIGINT AS non_talk_time_total_ms, -- all silence; Connect counts holds and silence beyond 3 s
    ((duration_s - silence_s) * 1000)::BIGINT AS talk_time_total_ms, -- time in which anybody speaks
    (agent_speech_s * 1000)::BIGINT AS talk_time_agent_ms, -- time in which the agent speaks; null without an agent channel
    (customer_speech_s * 1000)::BIGINT AS talk_time_customer_ms, -- time in which the customer speaks; null without a customer channel
    (duration_s * 1000)::BIGINT AS total_conversation_duration_ms, -- the recording's duration; Connect ends it with the last word
    NULL::FLOAT AS talk_speed_agent_wpm, -- always null: no words are recognised
    NULL::FLOAT AS talk_speed_customer_wpm, -- always null: no words are recognised
    (overlap_s * 1000)::BIGINT AS interruptions_time_total_ms, -- time in which both speak at once
    NULL::BIGINT AS interruptions_time_agent_ms, -- always null: overlap is not split by who began it
    NULL::BIGINT AS interruptions_time_customer_ms, -- always null: overlap is not split by who began it
    (interruptions_by_agent + interruptions_by_customer)::BIGINT AS interruptions_total_count, -- interruptions by either
    interruptions_by_agent::BIGINT AS interruptions_agent_count, -- interruptions by the agent
    interruptions_by_customer::BIGINT AS interruptions_customer_count, -- interruptions by the customer
    NULL::FLOAT AS sentiment_overall_score_agent, -- always null: emotion of people at work is not inferred
    CASE
        WHEN emotion_role = 'customer'
            THEN (5 * (coalesce(share_happiness, 0) - share_negative(share_anger, share_disgust, share_fear, share_sadness)))::FLOAT
    END AS sentiment_overall_score_customer, -- 5 times the share of happiness less that of negative speech; null where no customer was scored
    NULL::FLOAT AS sentiment_interaction_score_customer_with_agent, -- always null: the agent's part of a call is not known
    NULL::FLOAT AS sentiment_interaction_score_customer_without_agent, -- always null: the agent's part of a call is not known
    NULL::FLOAT AS sentiment_end_score_agent, -- always null: emotion of people at work is not inferred
    NULL::FLOAT AS sentiment_end_score_customer, -- always null: see negativity_q4 in call_emotions
    NULL::BIGINT AS response_time_average_agent_ms, -- always null: of chats only
    NULL::BIGINT AS response_time_average_customer_ms, -- always null: of chats only
    NULL::BIGINT AS response_time_maximum_agent_ms, -- always null: of chats only
    NULL::BIGINT AS response_time_maximum_customer_ms, -- always null: of chats only
    scored_at AS data_lake_last_processed_timestamp -- when the row was made
FROM counted_calls
ORDER BY disconnect_timestamp DESC, contact_id
