"""Hints for DuckDB's errors: the names that people try first, and text and dates without quotes."""

import re

_OF_AGENTS = "The lake holds pseudonyms of people: agent_pseudonym, in call_emotions. Figures by agent: FROM calls_by_agent."
_OF_CUSTOMERS = "The lake holds pseudonyms of people: customer_pseudonym. `ser pseudonym --customer ID` prints that of an id. Their calls: repeat_caller_calls."  # noqa: E501
_OF_MOODS = "Of a call: dominant_emotion and share_anger, share_happiness, ... (FROM calls); of a stretch of speech: label (FROM segments)."
_OF_WHEN = "call_date is the day of a call, started_at its start, local_hour its hour."
_OF_AUDIO = "recording_link is the address of a recording, key its name; recordings are in FROM recordings."

_OF_WEEKS = "date_trunc('month', call_date) is the month of a call, and so 'week' and 'year'. Ready: FROM calls_by_day_and_queue, FROM week_on_week."  # noqa: E501
_OF_TALK = "silence_s, longest_silence_s, overlap_s, interruptions_by_agent and interruptions_by_customer are in FROM call_emotions."

_SAME = {
    _OF_AGENTS: "agent agents agent_id agent_name operator representative rep user user_id employee employee_id",
    _OF_CUSTOMERS: "customer customers customer_id customer_name caller callers caller_id client client_id phone phone_number contact_id",
    _OF_MOODS: "mood moods emotion emotions sentiment sentiments feeling feelings label tone score valence dominant",
    _OF_WHEN: "date time datetime timestamp hour weekday start start_time started created_at call_time call_start date_time",
    _OF_WEEKS: "month week year quarter weeks months",
    _OF_TALK: "silence silences pause pauses hold hold_time overlap overlaps crosstalk interruption interruptions interrupted",
    "outcome says how a call ended; why: reason_code and reason (FROM outcomes).": "status result state error errors failed failure",
    "Of a stretch of speech: confidence (FROM segments); of a call: share_unsure, the speech of which the model is not sure.": "confidence "
    "certainty probability",
    "current_date is today, current_date - 1 is yesterday.": "today yesterday",
    _OF_AUDIO: "url link file filename file_name path audio recording wav uri",
    "duration_s is the length of a call in seconds, scored_speech_s that of the speech that was scored.": "duration length seconds "
    "call_duration duration_ms call_length talk_time",
    "call_id names a call, recording_id a recording.": "id callid call recordingid uuid",
    "Shares by queue: FROM calls_by_day_and_queue; the queue of a call is the column queue.": "queues team department skill skill_group line",  # noqa: E501
    "Stretches of speech are in FROM segments; the lake holds no words.": "utterance utterances turns turn transcript transcripts text words segment",  # noqa: E501
}
NAMES = {name: hint for hint, names in _SAME.items() for name in names.split()}
"""The hint for a column or table that does not exist, by its name in lower case."""

DATE = r"\d{4}-\d\d?-\d\d?"
QUOTED_DATE = "A date stands in single quotes: '2026-11-03'. Without quotes it is a subtraction, in double quotes the name of a column."
QUOTED_TEXT = "Text stands in single quotes: '{}'. Without quotes, or in double quotes, it is the name of a column."


def of_name(name: str) -> str:
    """The hint for a table or column that does not exist; empty where nothing is known of its name."""
    from ser_tasks.schemas import EMOTIONS

    name = name.lower()
    noun = {"angry": "anger", "happy": "happiness", "joy": "happiness", "sad": "sadness", "scared": "fear", "disgusted": "disgust"}.get(
        name, name
    )
    if noun in EMOTIONS:
        asks = "Which calls: FROM worst_calls. " if noun == "anger" else ""
        return f"{asks}Of a call: share_{noun} (FROM calls); of a stretch of speech: p_{noun}, or label = '{noun}' (FROM segments)."
    return NAMES.get(name, "") or _of_other_tables(name)


def _of_other_tables(name: str) -> str:
    from ser_tasks.schemas import TABLES

    having = [table for table in ("call_emotions", "segments", "outcomes", "recordings", "runs", "reviews") if name in TABLES[table].names]
    return f"{name} is a column of {' and of '.join(having[:2])}." if having else ""


def of_quotes(message: str, name: str | None, sql: str) -> str:
    """The hint where text or a date lacks its single quotes; empty where neither seems to be so.

    ``message`` is DuckDB's, ``name`` the column that it does not find if any, and ``sql`` the statement.
    """
    if name is not None:
        if name.lower() in ("today", "yesterday"):
            return NAMES[name.lower()]
        if re.fullmatch(DATE + ".*", name):
            return QUOTED_DATE
        return QUOTED_TEXT.format(name) if _stands_as_value(name, sql) else ""
    bare = re.sub(r"'(?:[^']|'')*'", "''", sql)
    with_number = re.search(r"(DATE|TIMESTAMP\b.*) and (type )?(INTEGER|BIGINT)|INTEGER -> (DATE|TIMESTAMP)|BETWEEN clause", message)
    if with_number or ("syntax error" in message and re.search(rf"(?<![\w']){DATE}", bare)):
        return QUOTED_DATE if with_number is None or re.search(rf"{DATE}|\d{{8}}", bare) else ""
    if "syntax error" in message and (found := re.search(r"(?i)\b(?:i?like|=|in)\s*\(?\s*([\w%]*%[\w%]*)", bare)):
        return QUOTED_TEXT.format(found[1])
    return ""


def of_habits(message: str, sql: str) -> str:
    """The hint for what other databases write otherwise, and for a call of compare without two names; empty for any other error."""
    if "syntax error" in message and (top := re.search(r"(?i)\bselect\s+top\s*\(?\s*(\d+)", sql)):
        return f"There is no TOP here: LIMIT {top[1]} stands at the end."
    if re.search(r"'-\(TIMESTAMP[^,]*, (INTEGER|BIGINT)", message):
        return "Days are subtracted from a date: current_date - 7; from a moment, an interval: now() - INTERVAL 7 DAY."
    if "must appear in the GROUP BY" in message:
        return "GROUP BY ALL at the end groups by every column that is no aggregate."
    if "Macro compare()" in message:
        return "It takes two periods or two queues: compare('2026-11', '2026-10'), compare('billing', 'returns'). More: \\d compare"
    return ""


def _stands_as_value(name: str, sql: str) -> bool:
    """Whether the name is compared with, listed or given to a function as a value would be: ``queue = billing``, ``IN (billing, returns)``."""  # noqa: E501
    word = rf'"?{re.escape(name)}"?'
    return (
        re.search(rf"(?is)([=<>]|\blike|\bilike|\bin\s*\([^()]*|\bcompare\s*\([^()]*|\bbetween|\bis)\s*{word}(?![\w.(])", sql) is not None
    )
