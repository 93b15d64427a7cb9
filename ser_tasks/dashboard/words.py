"""Outcomes and their reasons in the words of those who read the pages: not scored because ..."""

from ser_tasks.dashboard.pages import ENVIRONMENT

REASONS: dict[tuple[str, str], str] = {
    ("no_speech", "no_speech"): "no caller speaks",
    ("no_speech", "short_speech"): "the caller never speaks for a second without a pause",
    ("withheld", "no_notice"): "the caller was not told",
    ("withheld", "notice_unclear"): "it is unclear whether the caller agreed",
    ("withheld", "opted_out"): "the caller opted out",
    ("withheld", "notice_unknown"): "it is unknown whether the caller was told",
    ("withheld", "role_agent"): "only an agent speaks",
    ("withheld", "role_mixed"): "agent and caller are on one channel",
    ("withheld", "roles_uncertain"): "it is uncertain which voice is the caller's",
    ("withheld", "role_unknown"): "it is unknown which channel is the caller's",
    ("withheld", "role_customer"): "the policy scores no callers",
    ("quarantined", "empty"): "the file is empty",
    ("quarantined", "not_audio"): "the file is no recording",
    ("quarantined", "no_file"): "the recording is not a file",
    ("quarantined", "archived"): "the recording is in an archive",
    ("quarantined", "key_denied"): "the recording is encrypted and the key was denied",
    ("quarantined", "no_samples"): "the recording has no sound in it",
    ("quarantined", "no_channels"): "the recording has no channel",
    ("quarantined", "too_many_channels"): "the recording has too many channels",
    ("quarantined", "bad_sampling_rate"): "the recording has an unusable sampling rate",
    ("quarantined", "header_lies"): "the file is damaged at its start",
    ("quarantined", "not_finite"): "the recording has invalid samples",
    ("quarantined", "not_scaled"): "the recording is far too loud",
    ("quarantined", "too_long"): "the recording is too long",
    ("quarantined", "decode_error"): "the file is damaged",
    ("quarantined", "decoder_crash"): "reading the file failed",
    ("quarantined", "decoder_hang"): "reading the file took too long",
    ("quarantined", "bad_facts"): "what is stated about the call breaks a rule",
    ("failed", "changed"): "the recording changed while it was read",
    ("failed", "unreadable"): "the recording could not be fetched",
    ("failed", "store_hang"): "the recordings' store did not answer",
    ("failed", "out_of_memory"): "the machine ran out of memory",
    ("failed", "worker_killed"): "the machine stopped the work",
    ("failed", "worker_crash"): "the program stopped before reading it",
    ("failed", "not_finite"): "the model gave no score",
    ("failed", "internal_error"): "the program has a fault",
    ("failed", "chunk_failed"): "the machine failed",
}
"""(outcome, reason code) -> why the call is not scored, to follow "not scored because". A test compares it with the codes in the source."""

OUTCOMES = {
    "scored": "scored",
    "no_speech": "no speech to score",
    "withheld": "not to be scored",
    "quarantined": "recording unusable",
    "failed": "failed, tried again",
}
"""Outcomes as short labels."""


def why(outcome: str, reason_code: str | None) -> str:
    """Why a call is not scored: "the caller was not told". Codes of a later version are shown as they are."""
    return REASONS.get((outcome, reason_code or ""), (reason_code or outcome).replace("_", " "))


ENVIRONMENT.globals |= {"why": why, "outcome_words": OUTCOMES}
