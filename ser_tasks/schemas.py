"""The Arrow schema of every table of the lake.

A part's key is ``<table>/day=<day>[/version=<version>]/<name>.parquet``. ``day`` and ``version`` are hive folders, not columns of the
file; ``version`` is ``<model>.<policy>``. Each field has its meaning and unit as metadata, from which the data dictionary is made.
"""

from typing import Any

import pyarrow as pa

EMOTIONS = ("anger", "calm", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""The emotions that the tables have columns for. A model may classify fewer; the other columns are null in its rows."""

NEGATIVE_EMOTIONS = ("anger", "disgust", "fear", "sadness")
"""The sum of their probabilities is called negativity."""

OUTCOMES = ("scored", "no_speech", "withheld", "quarantined", "failed")
MACHINE_FAULTS = ("chunk_failed", "unreadable", "store_hang", "worker_killed", "worker_crash")
"""Reason codes of failed recordings that are faults of the machine or the store: they are tried again every night."""
LOCKED = ("archived", "key_denied")
"""Reason codes of quarantined recordings that the store delivers once a person has acted: tried again when that is asked for."""
ROLES = ("customer", "agent", "mixed", "unknown")

SAMPLING_RATE_HZ = 8_000
"""The telephone's sampling rate: every recording is resampled to it before speech is detected and scored."""

UTC = pa.timestamp("us", tz="UTC")


def _schema(*fields: tuple[str, pa.DataType, str]) -> pa.Schema:
    return pa.schema([pa.field(name, type_, metadata={"meaning": meaning}) for name, type_, meaning in fields])


def _per_emotion(prefix: str, meaning: str) -> list[tuple[str, pa.DataType, str]]:
    return [(f"{prefix}{emotion}", pa.float32(), meaning.format(emotion)) for emotion in EMOTIONS]


_IDENTITY = [
    ("recording_id", pa.string(), "hash of the recording's key in the store, keyed where it begins with k; the same for every version"),
    ("etag", pa.string(), "the store's identifier of the content; a recording that is uploaded again has another"),
]

_PROVENANCE = [
    ("model", pa.string(), "model bundle: name, version and content hash"),
    ("feature_set", pa.string(), "feature set: name and version"),
    (
        "priors",
        pa.string(),
        "base rates that probabilities are corrected to, as anger=0.05,...; null where they are as trained: all emotions equally frequent",
    ),
    (
        "priors_source",
        pa.string(),
        "where priors come from: settings (SER_PRIORS), line (estimated without labels, see profiles) or bundle; null without priors, and "
        "in older parts",
    ),
    (
        "line_profile",
        pa.string(),
        "line profile by which the model's input was standardised, see profiles; null where it was scored raw, and in older parts",
    ),
    (
        "precision",
        pa.string(),
        "precision in which the model computed: float32, or bfloat16, float16 or int8, whose scores are within about 0.01 of float32's; "
        "null where nothing of the call was scored, and in older parts",
    ),
    ("policy", pa.string(), "policy that decided whose emotion is scored"),
    ("run_id", pa.string(), "run that wrote the row"),
    ("code_version", pa.string(), "version of this package"),
    ("scored_at", UTC, "when the row was made"),
]

RECORDINGS = _schema(
    *_IDENTITY,
    ("key", pa.string(), "key in the recordings' store; ids of people, and what looks like a phone number, are masked as ~"),
    ("sidecar_etag", pa.string(), "etag of the sidecar .json, and after + that of the transcript; null without either"),
    ("size_bytes", pa.int64(), "size of the recording in bytes"),
    ("last_modified", UTC, "the store's time of the last upload"),
    ("day_source", pa.string(), "where the day folder's date comes from: key, file_name or object"),
    ("estimated_s", pa.float64(), "audio seconds guessed from size and suffix, for the chunk's budget only"),
    ("chunk_id", pa.string(), "chunk that the recording belongs to; it never changes"),
    ("planned_at", UTC, "when the chunk was planned"),
    ("run_id", pa.string(), "run that planned the chunk"),
    (
        "content_hash",
        pa.string(),
        "hash of the recording's bytes, by which a copy with another time is known; null on S3, where the etag is one, and in older parts",
    ),
    (
        "sidecar_hash",
        pa.string(),
        "hash of the sidecar's bytes, keyed by the recording's; null without one, on S3 and in older parts",
    ),
)

OUTCOME_ROWS = _schema(
    *_IDENTITY,
    ("key", pa.string(), "key in the recordings' store, ids of people and phone numbers masked as ~"),
    ("call_id", pa.string(), "call, as named by its sidecar, its file name or its key"),
    ("chunk_id", pa.string(), "chunk that the recording belongs to"),
    ("outcome", pa.string(), "scored, no_speech, withheld, quarantined or failed"),
    ("reason_code", pa.string(), "one word for the reason, to group by; null when scored"),
    ("reason", pa.string(), "what happened and what a person can do about it; null when scored"),
    ("note", pa.string(), "a remark on a recording that was used nevertheless, such as a truncated file"),
    ("attempts", pa.int32(), "attempts at this recording that count: not those that a fault of the machine or the store ended"),
    ("audio_s", pa.float64(), "seconds of audio decoded"),
    ("spent_s", pa.float64(), "worker seconds spent on it: read, decode, detect speech, features"),
    ("planned_at", UTC, "when its chunk was planned: of two uploads the later planned one is newer; null in older parts"),
    *_PROVENANCE,
)

SEGMENTS = _schema(
    ("call_id", pa.string(), "call"),
    *_IDENTITY,
    ("chunk_id", pa.string(), "chunk that the recording belongs to"),
    ("call_date", pa.date32(), "call_date of the call, see call_emotions; null in older parts"),
    ("queue", pa.string(), "queue of the call; null where unknown, and in older parts"),
    ("role", pa.string(), "who speaks on the channel: customer, agent, mixed or unknown"),
    ("channel", pa.int32(), "channel of the recording, from 0"),
    ("start_s", pa.float64(), "start, seconds from the start of the recording"),
    ("end_s", pa.float64(), "end, seconds from the start of the recording"),
    (
        "emotion",
        pa.string(),
        "most probable emotion. Filled where the model is unsure, too: to count or group emotions take label. Null where none is scored",
    ),
    ("confidence", pa.float32(), "calibrated probability of `emotion`, 0 to 1"),
    *_per_emotion("p_", "calibrated probability of {}, 0 to 1; null where the model does not know it or none is scored"),
    (
        "emotion_set",
        pa.string(),
        "emotions that the segment may hold, the most probable first, as anger,happiness (a raised voice): the true one is among them in "
        "the share of segments that the model card states, all emotions alike. Empty: unlike any. Null where none is scored, with models "
        "without sets, and in older parts",
    ),
    (
        "anger_score",
        pa.float32(),
        "calibrated probability of anger against all else, 0 to 1, at the row's priors; the model card states its AUC. Null where none is "
        "scored, and in older parts",
    ),
    (
        "arousal_score",
        pa.float32(),
        "calibrated probability of an emotion of high arousal (anger, fear, happiness, surprise), 0 to 1, at the row's priors; null as "
        "anger_score",
    ),
    (
        "unsure",
        pa.bool_(),
        "true where emotion_set says nothing (none, or more than half of the emotions that the model knows); with models without sets: "
        "where the confidence is below the bundle's threshold. Null where none is scored",
    ),
    ("not_scored_reason", pa.string(), "why the segment has no emotion; null where it has one"),
    ("loudness_dbfs", pa.float32(), "RMS level of the segment in dB relative to full scale"),
    ("snr_db", pa.float32(), "level of the segment above the channel's noise floor in dB; null without a floor to measure"),
    *_PROVENANCE,
)

NOTICE = ("notice_text", "notice_version", "notice_at")
"""What proves that the caller was informed: by which text, in which version, and when."""

CALL_FACTS = ("started_at", "agent_id", "customer_id", "queue", "language", "notice_given", *NOTICE, "roles")

_OLDER = "and in older parts"
_TURN_TAKING = [
    ("talk_ratio", pa.float64(), f"the agent's share of the seconds that agent and customer speak, 0 to 1; null unless both do, {_OLDER}"),
    (
        "turns_per_minute",
        pa.float64(),
        "turns of agent and customer a minute of the recording: a turn is all that one says until the other takes over; null as "
        f"talk_ratio, {_OLDER}",
    ),
    *[
        column
        for role in ("agent", "customer")
        for column in (
            (f"{role}_longest_turn_s", pa.float64(), f"the {role}'s longest turn with its pauses, seconds; null as talk_ratio, {_OLDER}"),
            (
                f"{role}_response_s",
                pa.float64(),
                f"median time from the end of the other's turn to the start of the {role}'s, seconds, below 0 where both speak; pauses "
                f"above 10 s are holds and do not count; null without any, {_OLDER}",
            ),
        )
    ],
    *[
        (
            f"{role}_syllables_per_s",
            pa.float64(),
            f"syllable nuclei in the envelope a second of {whose} speech: talk speed without words; null without such speech, {_OLDER}",
        )
        for role, whose in (("agent", "the agent's"), ("customer", "the customer's"), ("unattributed", "mixed and unknown"))
    ],
]
_WORDS = [
    (
        "words_source",
        pa.string(),
        f"format of the transcript that the next columns are counted of, such as webvtt; null without one, {_OLDER}",
    ),
    ("words_offset_s", pa.float64(), "seconds that were added to the transcript's times; null without one"),
    ("words_turns", pa.int32(), "turns in the transcript; null without one"),
    ("words_talk_ratio", pa.float64(), "talk_ratio by the transcript's turns; null without one, or unless both speak"),
    *[
        (f"{role}_words_per_minute", pa.float64(), f"words of the transcript a minute of the turns of {whose}; null without any")
        for role, whose in (("agent", "the agent"), ("customer", "the customer"), ("unattributed", "nobody known"))
    ],
    *[(f"words_{role}_longest_turn_s", pa.float64(), f"{role}_longest_turn_s by the transcript") for role in ("agent", "customer")],
    *[(f"words_{role}_response_s", pa.float64(), f"{role}_response_s by the transcript") for role in ("agent", "customer")],
    *[
        (f"{role}_questions", pa.int32(), f"question marks in the turns of {whose}; null without any turn")
        for role, whose in (("agent", "the agent"), ("customer", "the customer"), ("unattributed", "nobody known"))
    ],
    (
        "words_language",
        pa.string(),
        f"language of the words, as the transcript states it, or else the sidecar; null where neither does, without a transcript, {_OLDER}",
    ),
    (
        "words_sentiment_reason",
        pa.string(),
        "why the words have no sentiment: not_scored (the call), language_unknown, language_contradicted, language_unsupported (only "
        f"English is), not_english (stated as English) or no_words; null where they have, without a transcript, {_OLDER}",
    ),
    *[
        column
        for role, whose in (("agent", "the agent"), ("customer", "the customer"), ("unattributed", "nobody known"))
        for column in (
            (
                f"{role}_words_sentiment",
                pa.float64(),
                f"mean sentiment of the turns of {whose} by what was said, not by the voice: -1 negative to 1 positive (VADER, English "
                f"only); null where words_sentiment_reason says why, where the policy scores no such role, without such a turn, {_OLDER}",
            ),
            (
                f"{role}_words_negative_share",
                pa.float64(),
                f"share of these turns with a sentiment of -0.05 or less, 0 to 1; null as {role}_words_sentiment",
            ),
            (
                f"{role}_words_lowest_at_s",
                pa.float64(),
                "start of the most negative of these turns, seconds into the recording; null where none is negative, and as "
                f"{role}_words_sentiment",
            ),
        )
    ],
]

CALL_EMOTIONS = _schema(
    ("call_id", pa.string(), "call"),
    *_IDENTITY,
    ("key", pa.string(), "key in the recordings' store, ids of people and phone numbers masked as ~"),
    ("chunk_id", pa.string(), "chunk that the recording belongs to"),
    ("outcome", pa.string(), "scored, no_speech or withheld"),
    ("started_at", UTC, "start of the call; null where unknown"),
    ("call_date", pa.date32(), "date of started_at in the settings' time zone, else the day folder's date"),
    ("call_date_source", pa.string(), "where call_date comes from: sidecar, file_name, key or object"),
    ("local_hour", pa.int32(), "hour of started_at in the settings' time zone, 0 to 23; null where started_at is null, and in older parts"),
    ("agent_pseudonym", pa.string(), "keyed HMAC-SHA256 of the agent's id; null without SER_PSEUDONYM_KEY or id"),
    ("customer_pseudonym", pa.string(), "keyed HMAC-SHA256 of the customer's id; null without SER_PSEUDONYM_KEY or id"),
    ("queue", pa.string(), "queue of the call"),
    ("language", pa.string(), "language of the call, as the source wrote it"),
    ("notice_given", pa.bool_(), "whether the caller was informed (AI Act, Art. 50); null where unknown"),
    ("notice_text", pa.string(), "text of the notice that the caller was given, or its name; null where unknown, and in older parts"),
    ("notice_version", pa.string(), "version of that text; null where unknown, and in older parts"),
    ("notice_at", UTC, "when the caller was given it; null where unknown, and in older parts"),
    ("call_id_source", pa.string(), "where call_id comes from: sidecar, file_name, object or key"),
    *[
        (
            f"{fact}_source",
            pa.string(),
            f"where {fact} comes from: sidecar, file_name, key, object or settings"
            + ("; also transcript; of a mono mix that was split turns, transcript, first_speaker or talk_share" if fact == "roles" else "")
            + "; null where unknown",
        )
        for fact in CALL_FACTS
    ],
    (
        "roles_confidence",
        pa.float32(),
        "confidence of the roles on a mono mix that was split (policy customers_mono), 0 to 1: assumed for first_speaker and talk_share, "
        "for turns the share of speech in which voices agree with them. Null otherwise, and in older parts",
    ),
    (
        "roles_evidence",
        pa.string(),
        "evidence of these roles, each with its confidence, as first_speaker 0.95, talk_share 0.58; null as that",
    ),
    ("codec", pa.string(), "codec of the recording, such as ULAW or PCM_16"),
    ("container", pa.string(), "container of the recording, such as WAV"),
    ("sampling_rate_hz", pa.int32(), "sampling rate of the recording"),
    ("channels", pa.int32(), "channels of the recording"),
    ("channel_roles", pa.string(), "role of each channel in order, such as agent,customer"),
    ("duration_s", pa.float64(), "seconds of audio decoded"),
    ("customer_speech_s", pa.float64(), "seconds in which a customer speaks; null without a customer channel"),
    ("agent_speech_s", pa.float64(), "seconds in which an agent speaks; null without an agent channel"),
    ("unattributed_speech_s", pa.float64(), "seconds of speech on mixed and unknown channels; null without such a channel"),
    ("silence_s", pa.float64(), "seconds without speech"),
    ("longest_silence_s", pa.float64(), "longest stretch without speech, seconds"),
    ("overlap_s", pa.float64(), "seconds in which agent and customer speak at once; null unless both have a channel"),
    ("interruptions_by_agent", pa.int32(), "times the agent starts within customer speech and both go on for 0.5 s or more"),
    ("interruptions_by_customer", pa.int32(), "times the customer starts within agent speech and both go on for 0.5 s or more"),
    ("customer_loudness_dbfs", pa.float32(), "RMS level of the customer's speech, dB relative to full scale"),
    ("agent_loudness_dbfs", pa.float32(), "RMS level of the agent's speech, dB relative to full scale"),
    ("unattributed_loudness_dbfs", pa.float32(), "RMS level of speech on mixed and unknown channels, dB relative to full scale"),
    *_TURN_TAKING,
    *_WORDS,
    (
        "words",
        pa.string(),
        f"turns of the transcript as JSON, see the view words; null unless SER_WORDS=keep, after SER_KEEP_WORDS_DAYS, {_OLDER}",
    ),
    (
        "redact",
        pa.string(),
        "ranges that nobody may hear, seconds, as [[12.4, 31.0]]: silence in all that is decoded; null without, and in older parts",
    ),
    ("emotion_role", pa.string(), "whose speech the emotion columns describe; null where none is scored"),
    ("scored_speech_s", pa.float64(), "seconds of that speech in scored segments: the shares' denominator"),
    ("scored_segments", pa.int32(), "number of scored segments"),
    ("scored_snr_db", pa.float32(), "mean snr_db of that speech, weighted by seconds; null without a noise floor, and in older parts"),
    (
        "line",
        pa.string(),
        "line of the profile whose statistics standardised the call, as queue=billing,codec=ULAW, or all; null where it was scored raw, "
        "and in older parts",
    ),
    (
        "line_distance",
        pa.float32(),
        "root mean square of the call's standardised features, from 0: about 1 where the call is like its line; null where it was scored "
        "raw, and in older parts",
    ),
    *_per_emotion("share_", "share of scored speech labelled {} and not unsure, 0 to 1"),
    ("share_unsure", pa.float32(), "share of scored speech in which the model is not sure, 0 to 1; with the other shares it sums to 1"),
    *_per_emotion("mean_p_", "mean probability of {} over scored speech, weighted by seconds, 0 to 1"),
    ("dominant_emotion", pa.string(), "emotion of the largest share; null where more than half of the scored speech is unsure"),
    (
        "anger_seconds",
        pa.float64(),
        "expected seconds of anger: the sum over scored speech of seconds times anger_score; null where none is scored, and in older parts",
    ),
    (
        "call_anger",
        pa.float32(),
        "calibrated probability that the call holds at least 5 s of anger, 0 to 1, where one call in ten does; from its strongest eighth, "
        "at least 5 s, so independent of its length. Null as anger_seconds",
    ),
    (
        "call_anger_at_s",
        pa.float64(),
        "start of the segment with the highest anger_score, seconds into the recording; null as that",
    ),
    ("peak_anger", pa.float32(), "largest probability of anger in a segment, 0 to 1"),
    ("peak_anger_at_s", pa.float64(), "start of that segment, seconds from the start of the recording"),
    ("peak_happiness", pa.float32(), "largest probability of happiness in a segment, 0 to 1; null in older parts"),
    ("peak_happiness_at_s", pa.float64(), "start of that segment, seconds from the start of the recording"),
    *[
        (
            f"negativity_q{quarter}",
            pa.float32(),
            f"mean negativity in quarter {quarter} of the recording, 0 to 1; null without scored speech there",
        )
        for quarter in (1, 2, 3, 4)
    ],
    ("negativity_change", pa.float32(), "negativity_q4 minus negativity_q1, -1 to 1; null where either is"),
    (
        "escalation_z",
        pa.float32(),
        "correlation of anger (at equal base rates; of negativity with models that do not know anger) with the order of the scored "
        "segments, as a multiple of chance; above 0: it rises. Null with fewer than 10 scored segments, and in older parts",
    ),
    (
        "escalated",
        pa.bool_(),
        "true where escalation_z is above 2.33 and the last third's mean anger at least 0.05 above the first's: at most 2 % of calls "
        "without change. Null as escalation_z. In older parts: negativity_change at least 0.2 and negativity_q4 at least 0.5",
    ),
    ("deescalated", pa.bool_(), "the mirror of escalated: the call ends less angry than it began; null as that, and in older parts"),
    (
        "onset_s",
        pa.float64(),
        "where an escalated call turns: start of the segment that best separates lower from higher anger, seconds from the start of "
        "the recording; null where not escalated, and in older parts",
    ),
    (
        "call_anger_fused",
        pa.float32(),
        "call_anger by the voice, turn-taking and the customer's words together, 0 to 1, where one call in ten holds anger; call_anger "
        "itself on a call without turn-taking and words. Null with a bundle without a fusion (ser fuse), unless a customer is scored, "
        f"{_OLDER}",
    ),
    *_PROVENANCE,
)

STAGES = {
    "list": "seconds to list the store and plan the chunks",
    "fetch": "worker seconds spent fetching recordings",
    "decode": "worker seconds spent decoding and resampling",
    "speech": "worker seconds spent detecting speech",
    "features": "worker seconds spent on features",
    "score": "seconds spent in the model",
    "write": "seconds spent summarising and writing parts",
}
"""The stages of a run in order, and what the column ``<stage>_s`` of ``runs`` counts."""

WORKER_STAGES = ("fetch", "decode", "speech", "features")
"""The stages that a worker process goes through with each recording."""

RUNS = _schema(
    ("run_id", pa.string(), "run"),
    ("started_at", UTC, "when the run began"),
    ("ended_at", UTC, "when the run ended"),
    ("recordings_uri", pa.string(), "store that was listed"),
    ("model", pa.string(), "model bundle: name, version and content hash"),
    ("feature_set", pa.string(), "feature set: name and version"),
    ("policy", pa.string(), "policy that decided whose emotion is scored"),
    ("code_version", pa.string(), "version of this package"),
    ("device", pa.string(), "device that scored: cpu or cuda"),
    ("precision", pa.string(), "precision in which it scored, see segments; null where nothing was scored, and in older parts"),
    ("workers", pa.int32(), "extraction processes"),
    ("listed", pa.int64(), "recordings listed in the store"),
    ("ignored_keys", pa.int64(), "keys listed that are neither recordings nor sidecars of one"),
    ("planned", pa.int64(), "recordings put into new chunks by this run"),
    *[(outcome, pa.int64(), f"recordings with the outcome {outcome} in this run") for outcome in OUTCOMES],
    ("failed_chunks", pa.int64(), "chunks that a broken machine stopped"),
    ("checks_failed", pa.int64(), "checks that returned rows at the end of the run"),
    ("pseudonyms", pa.bool_(), "whether SER_PSEUDONYM_KEY was set"),
    ("audio_s", pa.float64(), "seconds of audio decoded"),
    ("start_up_s", pa.float64(), "seconds to start workers and load the model"),
    *[(f"{stage}_s", pa.float64(), meaning) for stage, meaning in STAGES.items()],
    ("wall_s", pa.float64(), "seconds from the end of start-up to the last part"),
    ("audio_h_per_h", pa.float64(), "audio hours handled per wall-clock hour, without start-up"),
    ("machines", pa.int32(), "machines that handled chunks; 1 where there was nothing to do; null in older parts"),
    (
        "written_bytes",
        pa.int64(),
        "bytes of the parts that the run wrote to the lake, replaced ones included; null in older parts",
    ),
    ("lone_sidecars", pa.int64(), "sidecars listed that belong to no recording, counted in ignored_keys, too; null in older parts"),
    (
        "lone_sidecar_keys",
        pa.string(),
        "keys of the first of them, ids of people masked as ~; null where there is none, and in older parts",
    ),
    (
        "ignored_suffixes",
        pa.string(),
        "suffixes of the ignored keys and their numbers, as `.mkv 3, .txt 1`, the 20 most frequent; null in older parts",
    ),
    ("key_fingerprint", pa.string(), "which key made the run's pseudonyms, without telling it; null without a key, and in older parts"),
)

PROFILES = _schema(
    ("profile_id", pa.string(), "line profile: model, and a hash of its statistics"),
    ("model", pa.string(), "model bundle that it is for: name, version and content hash"),
    ("made_at", UTC, "when it was made"),
    ("counts_from", UTC, "recordings planned from then on are scored by it; null: all that had no profile before"),
    ("by", pa.string(), "facts that name a line, as queue,codec; empty: one line for all calls"),
    ("line", pa.string(), "the line, as queue=billing,codec=ULAW; all: every call of the sample"),
    ("recordings", pa.int64(), "recordings of the line's sample"),
    ("callers", pa.int64(), "people in it: customers by their ids, and recordings without one"),
    ("segments", pa.int64(), "segments in it, at most 20 of one caller"),
    ("speech_s", pa.float64(), "seconds of speech in those segments"),
    (
        "refused",
        pa.string(),
        "why the line has no statistics, so that its calls fall back to a wider line, or are scored raw; null: it has",
    ),
    ("mean", pa.list_(pa.float32()), "mean of each pooled feature over the segments; null where refused"),
    ("deviation", pa.list_(pa.float32()), "standard deviation of each pooled feature over the segments; null where refused"),
    ("usual_distance", pa.float32(), "median of line_distance over the sample's calls; null where refused"),
    ("high_distance", pa.float32(), "what line_distance exceeds in a tenth of the sample's calls; null where refused"),
    (
        "base_rates",
        pa.string(),
        "estimated shares of the emotions in the line's speech, without labels, as anger=0.05,...; null where refused, and in older parts",
    ),
    ("base_rates_low", pa.string(), "lower ends of their 95 % intervals: of the sample, and of the model's own error; null as base_rates"),
    ("base_rates_high", pa.string(), "upper ends of their 95 % intervals; null as base_rates"),
    (
        "base_rates_used",
        pa.bool_(),
        "whether the line's calls are corrected to them, unless SER_PRIORS is set: where each interval is at most 0.2 wide; null as "
        "base_rates",
    ),
    ("run_id", pa.string(), "run that made it"),
    ("code_version", pa.string(), "version of this package"),
)

DELETIONS = _schema(
    (
        "table_name",
        pa.string(),
        "what was deleted: a table, reports or quarantine; day is that of its parts, in quarantine that on which they were moved there",
    ),
    ("parts", pa.int64(), "parts deleted"),
    ("size_bytes", pa.int64(), "their size in bytes"),
    ("keep_days", pa.int32(), "number of days for which the settings kept it"),
    ("deleted_at", UTC, "when they were deleted"),
    ("code_version", pa.string(), "version of this package"),
)

ALERT_EVENTS = ("began", "stays", "ended")

ALERTS = _schema(
    ("rule", pa.string(), "name of the rule in the rule file (deploy/alerts.yaml)"),
    ("subject", pa.string(), "what the alert is about, such as a queue; empty where the rule has one alert only"),
    ("severity", pa.string(), "info, warning or error, as the rule says"),
    (
        "event",
        pa.string(),
        "began (firing), stays (a reminder that it still fires), ended (resolved) or acknowledged (no more reminders)",
    ),
    ("message", pa.string(), "the line that was sent"),
    ("since", UTC, "when the alert started to fire"),
    ("target", pa.string(), "who was notified: prefect, webhook or an e-mail address; null where it was acknowledged"),
    ("found_at", UTC, "when the rules were evaluated, or the alert was acknowledged"),
    (
        "told_at",
        UTC,
        "when the target accepted the message; null while it is sent, and where it was not accepted: the next run retries it",
    ),
    ("why_not_told", pa.string(), "why the target did not accept the message; null where it did, and while it is sent"),
    (
        "acknowledged_by",
        pa.string(),
        "who acknowledged the alert on the dashboard, as the sign-in names them; null in every other row, and in older parts",
    ),
    ("code_version", pa.string(), "version of this package"),
)

VERDICTS = ("heard", "agree", "wrong", "note")
"""What a reviewer may say: that they heard it, that the model is right, which emotion they hear instead, or a note alone."""
STRATA = ("top", "uncertain", "random")
"""The strata of a review sample: calls of the list to hear; of the others, those nearest to the threshold; all others."""

_STRETCH = [
    ("channel", pa.int32(), "channel of the stretch, from 0; null: the whole call"),
    ("start_s", pa.float64(), "start of the stretch, seconds from the start of the recording; null: the whole call"),
    ("end_s", pa.float64(), "its end; null: the whole call"),
]

REVIEWS = _schema(
    ("review_id", pa.string(), "review; a row that was merged into another part keeps it"),
    *_IDENTITY,
    ("call_id", pa.string(), "call"),
    *_STRETCH,
    ("verdict", pa.string(), "heard (listened to, no judgement), agree (the model is right), wrong (emotion says what it is) or note"),
    ("emotion", pa.string(), "emotion that the reviewer hears in the customer; null for heard and note"),
    ("note", pa.string(), "what the reviewer wrote, at most 500 characters: free text, which may be about people; null without"),
    ("blind", pa.bool_(), "whether the score was hidden until the reviewer had judged"),
    ("reviewer", pa.string(), "who judged, as the sign-in names them; without sign-in SER_REVIEWER or the user of that machine"),
    ("reviewed_at", UTC, "when the review was stored"),
    ("model", pa.string(), "model bundle whose score was judged: name, version and content hash"),
    ("model_emotion", pa.string(), "emotion that the model gave it: a call's is anger from a call_anger of 0.5 on; null: not sure"),
    ("model_score", pa.float32(), "call_anger of a call, anger_score of a stretch, when it was judged, 0 to 1; null without"),
    ("sample_id", pa.string(), "review sample from whose queue it was judged, see review_samples; null for any other review"),
    ("code_version", pa.string(), "version of this package"),
)

REVIEW_SAMPLES = _schema(
    ("sample_id", pa.string(), "review sample: calls that were drawn together"),
    ("drawn_at", UTC, "when it was drawn"),
    ("drawn_by", pa.string(), "who drew it"),
    ("first_date", pa.date32(), "first call_date of the calls that it was drawn from"),
    ("last_date", pa.date32(), "last call_date of the calls that it was drawn from"),
    ("queues", pa.string(), "queues that it was drawn from, as JSON; null: all"),
    *_IDENTITY,
    ("call_id", pa.string(), "call"),
    ("stratum", pa.string(), "top (on the list to hear), uncertain (of the others, the quarter nearest to 0.5) or random (all others)"),
    ("position", pa.int32(), "place of the call in the review queue, from 1: a random order"),
    *_STRETCH,
    ("score", pa.float32(), "call_anger of the call, anger_score of the stretch, when it was drawn, 0 to 1"),
    (
        "inclusion_probability",
        pa.float64(),
        "probability with which the draw takes this call, or this stretch, above 0 to 1: its inverse is the weight of Horvitz and Thompson",
    ),
    ("stratum_calls", pa.int64(), "calls of the stratum"),
    ("stratum_drawn", pa.int64(), "calls that were drawn from it"),
    ("model", pa.string(), "model bundle that scored the call: name, version and content hash"),
    ("code_version", pa.string(), "version of this package"),
)

WORD_COLUMNS = (*[name for name, *_ in _WORDS], "words", "call_anger_fused")
"""Columns of call_emotions that depend on a transcript."""

TABLES: dict[str, pa.Schema] = {
    "recordings": RECORDINGS,
    "outcomes": OUTCOME_ROWS,
    "segments": SEGMENTS,
    "call_emotions": CALL_EMOTIONS,
    "runs": RUNS,
    "profiles": PROFILES,
    "deletions": DELETIONS,
    "alerts": ALERTS,
    "reviews": REVIEWS,
    "review_samples": REVIEW_SAMPLES,
}


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table of schema ``name``. A missing or an unknown column raises, so no column can be forgotten."""
    schema = TABLES[name]
    for row in rows:
        if row.keys() != set(schema.names):
            missing, unknown = set(schema.names) - row.keys(), row.keys() - set(schema.names)
            raise ValueError(f"A row of {name} must fill every column: missing {sorted(missing)}, unknown {sorted(unknown)}.")
    return pa.Table.from_pylist(rows, schema=schema)
