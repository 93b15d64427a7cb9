"""The settings: one frozen object, read once from the ``SER_*`` environment variables when a command or flow starts.

And what is known of this installation: the version of the code, and where shipped files lie.
"""

import functools
import hashlib
import re
import subprocess
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from packaging.version import Version
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

RECORDING_SUFFIXES = (
    *(".wav", ".wave", ".rf64", ".w64", ".aif", ".aiff", ".au", ".caf", ".sph", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".m4a", ".mp4", ".aac", ".amr", ".3gp", ".webm", ".mka", ".wma", ".gsm"),
    *(".ulaw", ".ul", ".mulaw", ".pcmu", ".alaw", ".al", ".pcma", ".vox", ".sln"),
    *(".raw", ".sln12", ".sln16", ".sln24", ".sln32", ".sln44", ".sln48", ".sln96", ".sln192"),
)


_UP_TO_MARKER = r"[^_]+?(?=_|\.[A-Za-z0-9]+\Z|\Z)"
"""A value in a file name, up to the next underscore or the suffix."""
FILE_NAME_PATTERN = "".join(
    rf"(?:(?=(?s:.*?)(?<![A-Za-z0-9]){marker}_(?P<{fact}>{value}))|)"
    for marker, fact, value in (
        ("CUST", "customer_id", _UP_TO_MARKER),
        ("GUID", "call_id", _UP_TO_MARKER),
        ("AGENT", "agent_id", _UP_TO_MARKER),
        ("DT", "started_at", r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d"),
    )
)
"""The markers of Amazon's post-call analytics, each where it is there, in any order: lookaheads from the start of the name."""


LINE_FACTS = ("language", "queue", "codec", "container", "sampling_rate_hz")
"""Facts of a call that may name its line."""
TOKEN_CHARACTERS = 16
"""Minimum length of a token: a shorter one could be guessed."""


class GroupRights(BaseModel):
    """The queues that a group of dashboard viewers may see, and whether it may play calls, judge what it plays, and acknowledge alerts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queues: tuple[str, ...] | Literal["all"] = ()
    may_play: bool = False
    may_review: bool = True
    """Only for those who may play: nobody judges what they may not hear."""
    may_acknowledge: bool = False
    """Whether the group may acknowledge open alerts on its queues, which ends their reminders; ``"all"``: every alert."""


class Deployer(BaseModel):
    """What only the deployer can say, for the sheets of ``ser compliance``. The descriptions say what to write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    controller: str | None = Field(None, description="name and contact of the controller, and of a representative in the Union if any")
    privacy_officer: str | None = Field(None, description="contact of the data protection officer, or that none is required and why")
    purpose: str | None = Field(None, description="what the figures are used for, and what they are not used for")
    legal_basis: str | None = Field(None, description="the basis in Art. 6(1) GDPR, with the interests pursued if it is (f)")
    special_categories: str | None = Field(
        None, description="whether data of Art. 9(1) GDPR are processed (health, ...) and the exception of Art. 9(2), or why they are not"
    )
    notice: str | None = Field(None, description="the text by which callers are informed, its version, when and how it is given")
    recordings: str | None = Field(None, description="where the recordings lie, who may read them, and when they are deleted")
    recipients: str | None = Field(None, description="categories of recipients, and processors with their contracts")
    transfers: str | None = Field(None, description="third countries and the safeguards, or that there are none")
    oversight: str | None = Field(None, description="who oversees the use, with which training and authority")
    workers: str | None = Field(None, description="when and how workers and their representatives were informed")
    objections: str | None = Field(None, description="how callers object, withdraw, get access and complain, and who answers")


class Settings(BaseSettings):
    """All settings. A field is read from the variable ``SER_<FIELD>``, maps and lists as JSON. An empty variable counts as unset."""

    model_config = SettingsConfigDict(env_prefix="SER_", frozen=True, extra="ignore", env_ignore_empty=True)

    pseudonym_key: SecretStr | None = Field(
        None,
        description="Key of the HMAC that makes pseudonyms and ids of recordings: `ser key` makes one. Unset: pseudonyms are null.",
    )
    old_pseudonym_keys: tuple[SecretStr, ...] = Field(
        (), description='The keys before SER_PSEUDONYM_KEY of a lake that `ser rekey` wrote, the oldest first, as ["...", "..."].'
    )
    policy: str = Field("customers_only", description="Policy that decides whose emotion is scored: a name in ser_tasks/calls/policy.py.")
    model: str = Field("default", description="Model bundle: the name of a shipped bundle, a folder, or s3://bucket/prefix.")
    encoders: str | None = Field(
        None,
        description="Folder of a pretrained encoder (wav2vec2, wavlm, hubert, emotion2vec) as its owner publishes it, or a folder of such "
        "folders, for bundles that name one. Every machine that scores needs it. Unset: none.",
    )
    priors: dict[str, float] = Field(
        {},
        description='Base rate of each emotion on these calls, as {"anger": 0.05, "happiness": 0.1, "neutral": 0.8, "sadness": 0.05}: '
        "probabilities are corrected to it. Unset: the bundle's own, as a rule all equally frequent.",
    )
    line_by: tuple[str, ...] = Field(
        ("language", "codec"),
        description='Facts that name a line, the most important first, as ["language", "codec"]: language, queue, codec, container, '
        "sampling_rate_hz. Each line is standardised by its own statistics; with queue, queues can no longer be compared.",
    )
    channel_roles: dict[int, str] = Field(
        {}, description='Roles of the channels of calls whose sidecar has none, as {"0": "agent", "1": "customer"}.'
    )
    call_direction: Literal["inbound", "outbound"] | None = Field(
        None,
        description="Who calls, for mono calls under the policy customers_mono whose sidecar has no direction: inbound (the agent speaks "
        "first) or outbound (the customer does). Unset: who speaks first says nothing.",
    )
    prompt_s: float = Field(
        0.0, ge=0, description="Seconds of prompt at the start of mono calls whose sidecar has no prompt_end_s, for the same policy."
    )
    time_zone: str = Field("UTC", description="Time zone of call_date, and of start times without an offset.")
    file_name_pattern: str = Field(
        FILE_NAME_PATTERN,
        description="Regular expression that is searched in the file name; its named groups are facts of the call.",
    )
    ignored_facts: tuple[str, ...] = Field(
        (),
        description="Names in sidecars and metadata that look like the caller's consent or refusal and mean something else, as "
        '["recording_consent"]. Calls with any other such name are not scored.',
    )
    notice_text: dict[str, str] = Field(
        {},
        description='Text, or its name, of the notice that callers hear, by queue ("*": any other), as {"*": "greeting"}: for calls with '
        "notice_given true whose metadata name none.",
    )
    notice_version: dict[str, str] = Field(
        {}, description='Version of that text, by queue, as {"billing": "2026-03", "*": "2025-11"}: for the same calls.'
    )
    opt_out: str | None = Field(
        None,
        description="File, or s3://bucket/name, with the customers whose emotion is never scored: one id or pseudonym a line. Unset: none.",
    )
    transcripts: str | None = Field(
        None,
        description="Folder, or s3://bucket/prefix, of transcripts under the recordings' names, with .json, .vtt or .srt. Unset: they lie "
        "beside the recordings, as call.transcript.json, call.vtt or call.srt.",
    )
    transcript_pattern: str | None = Field(
        None,
        description="Regular expression of whole keys of transcripts under other names; its group stem is the recording's key, with or "
        r"without its suffix, as (?P<stem>.+)_analytics\.json.",
    )
    asr_model: str | None = Field(
        None,
        description="Folder of a Whisper model in CTranslate2's format, on every machine, with which `ser transcribe` makes transcripts. "
        "Nothing is downloaded. Unset: none are made.",
    )
    words: Literal["count", "keep"] = Field(
        "count",
        description="What is kept of transcripts: count (nothing that was said), or keep (the turns, without e-mail addresses and digits).",
    )
    raw_channels: dict[str, Annotated[int, Field(ge=1)]] = Field(
        {},
        description='Interleaved channels of headerless audio by suffix, as {".raw": 2}, where the sidecar names none. '
        "Unset: 1, and .raw is refused.",
    )
    recording_suffixes: tuple[str, ...] = Field(RECORDING_SUFFIXES, description="Keys with one of these suffixes are recordings.")

    chunk_audio_s: float = Field(7200, gt=0, description="Most audio in a chunk, in seconds, estimated from file sizes.")
    chunk_recordings: int = Field(500, gt=0, description="Most recordings in a chunk.")
    max_duration_s: float = Field(6 * 3600, gt=0, description="Longest duration of a recording, in seconds; longer ones are quarantined.")
    max_attempts: int = Field(
        5,
        gt=0,
        description="Attempts at a recording that fails; after them it is given up. Faults of the machine or the store do not count.",
    )
    retry_given_up: bool = Field(
        False,
        description="Whether to try recordings again that were given up, are archived, or whose key was denied: `ser nightly "
        "--retry-given-up` sets it for one night.",
    )

    recording_limit_s: float = Field(
        300,
        gt=0,
        description="Time limit of a worker in seconds, to which a tenth of its recordings' audio is added, or all of it when scoring. "
        "A slower worker is killed, and the recording that it was processing is tried once more, alone.",
    )
    worker_memory_mb: int | None = Field(
        4096, ge=512, description="Memory limit of a worker in MB; a recording that needs more fails. null: no limit."
    )

    min_segment_s: float = Field(1.0, gt=0, description="Shortest segment in seconds. Shorter speech counts as speech, but is not scored.")
    max_segment_s: float = Field(
        6.0, gt=0, description="Longest segment in seconds. Longer speech is cut where the probability of speech is lowest."
    )

    keep_segments_days: int | None = Field(
        None, gt=0, description="Age in days after which `ser retention` deletes a day's segments. Unset: never."
    )
    keep_words_days: int | None = Field(
        None, gt=0, description="Age in days after which `ser retention` deletes what was said in a day's calls. Unset: never."
    )
    keep_calls_days: int | None = Field(
        None,
        gt=0,
        description="Age in days after which `ser retention` deletes a day's call_emotions, reviews, reports and alerts. Unset: never.",
    )
    access_log: str | None = Field(
        None,
        description="Folder for the access log: who listened to a recording, opened a call's page or exported rows, and when. "
        "Unset: <lake>.accesses beside a local lake, else ser-nightly/accesses in the user's state folder.",
    )
    keep_access_days: int | None = Field(
        None, gt=0, description="Age in days after which the files of the access log are deleted. Unset: never."
    )
    min_calls_by_agent: int = Field(
        10,
        ge=5,
        description="Fewest calls of an agent about whom figures are shown (calls_by_agent): fewer would describe single calls.",
    )
    deployer: Deployer = Field(
        Deployer(), description='What only the deployer can say, for `ser compliance`: {"controller": "...", "purpose": "...", ...}.'
    )
    keep_outcomes_days: int | None = Field(
        None,
        gt=0,
        description="Age in days after which `ser retention` deletes all that is known of a day's recordings: recordings, outcomes, and "
        "what is left of call_emotions and segments. Such days are not planned any more. Unset: never.",
    )
    keep_runs_days: int | None = Field(
        None, gt=0, description="Age in days after which `ser retention` deletes rows of runs. Unset: never."
    )
    keep_quarantine_days: int | None = Field(
        90,
        gt=0,
        description="Days after which `ser retention` deletes what `ser doctor --repair` moved into quarantine/; parts of days that are "
        "past the retention of their table go sooner. null: never.",
    )
    alerts: str | None = Field(None, description="File with the alert rules. Unset: the shipped rules (deploy/alerts.yaml).")
    alert_webhook_url: SecretStr | None = Field(
        None,
        description="Address to which Prefect's automations and the alert rules send alerts, as a POST of JSON. It is a secret.",
    )
    smtp_host: str | None = Field(None, description="Mail server for alerts and pages.")
    smtp_port: int = Field(587, gt=0, lt=65536, description="Port of the mail server: 587 for STARTTLS, 465 for TLS.")
    smtp_security: str = Field(
        "starttls", description="Encryption of the connection to the mail server: starttls, tls or none. With none there is no login."
    )
    smtp_user: str | None = Field(None, description="User name at the mail server. Unset: no login.")
    smtp_password: SecretStr | None = Field(None, description="Password at the mail server.")
    mail_from: str | None = Field(None, description="Sender of mail, as ser@example.org.")
    mail_to: str | None = Field(None, description="Recipients of mail: addresses separated by commas.")

    reference_month: date | None = Field(
        None, description="Any day of the month against which the report and the alerts measure drift. Unset: the first complete month."
    )
    price_machine_hour: float | None = Field(None, ge=0, description="Price of a machine for one hour, for the run report.")
    price_gb_month: float | None = Field(None, ge=0, description="Price of storing 10^9 bytes for one month, for the run report.")
    currency: str = Field("", description="Currency of these prices, as EUR. It is only printed.")

    metrics_file: Path | None = Field(
        None,
        description="File of a night's metrics for node_exporter's textfile collector, as /var/lib/node_exporter/ser.prom. Unset: none.",
    )
    metrics_token: SecretStr | None = Field(
        None,
        description="Token with which Prometheus reads the dashboard's /metrics (as a bearer token). Unset: there is no such page.",
    )
    log_format: Literal["text", "json"] = Field("text", description="Lines of the log: text, or one JSON object a line.")

    dashboard_secret: SecretStr | None = Field(
        None,
        description="Password that the dashboard's reverse proxy sends (HTTP Basic). Unset: no sign-in, and only this machine can connect.",
    )
    dashboard_groups: dict[str, GroupRights] = Field(
        {},
        description='What each group of viewers may see: {"billing-leads": {"queues": ["billing"], "may_play": true}, '
        '"quality": {"queues": "all"}}. Viewers in none of the groups see nothing.',
    )
    dashboard_user_header: str = Field("X-Forwarded-User", description="Header in which the proxy sends the viewer's name.")
    dashboard_groups_header: str = Field(
        "X-Forwarded-Groups", description="Header in which the proxy sends the viewer's groups, separated by commas."
    )
    reviewer: str | None = Field(
        None,
        max_length=200,
        description="Name under which reviews are stored where the dashboard has no sign-in. Unset: the user's name on this machine.",
    )
    dashboard_refresh_s: float = Field(300, gt=0, description="Seconds between the dashboard's checks for new parts in the lake.")
    dashboard_url: str | None = Field(
        None, description="Address of the dashboard for viewers, as https://moods.example.org. Mailed pages link to it. Unset: no links."
    )
    annotations: dict[date, str] = Field(
        {}, description='What happened on a day, for the time lines of the dashboard, as {"2026-11-03": "new IVR"}. Every viewer sees it.'
    )
    weekly_to: dict[str, tuple[str, ...]] = Field(
        {},
        description="Recipients of the weekly page, and for each the groups of SER_DASHBOARD_GROUPS whose queues it shows: "
        '{"lead@example.org": ["billing-leads"]}.',
    )

    frames_per_batch: int | None = Field(
        None,
        gt=0,
        description="Frames in one batch of the model in float32, and on CUDA. Unset: FRAMES_PER_BATCH in ser_tasks/inference/scorer.py.",
    )
    precision: str = Field(
        "auto",
        description="Precision of scoring: auto (bfloat16 on a CPU that multiplies it, else float32), float32, bfloat16, float16, or int8 "
        "on CPUs. All but float32 are used only where scores of a fixed input stay within 5e-3 of float32's. Voices of mono calls are "
        "compared in bfloat16 where the CPU has AMX, unless it is float32.",
    )
    cluster: str | None = Field(
        None, description="Dask scheduler whose workers process the chunks, as tcp://scheduler:8786. Unset: the cores of this machine."
    )
    scratch: str | None = Field(None, description="Folder for frame features and downloads. Unset: the system's temporary folder.")

    def first_open_day(self) -> date | None:
        """The oldest day of which everything is kept, or None if nothing is ever deleted.

        Older days are not planned or scored, as that would bring back deleted rows.
        """
        kept = [days for days in (self.keep_segments_days, self.keep_calls_days, self.keep_outcomes_days) if days is not None]
        return datetime.now(UTC).date() - timedelta(days=min(kept)) if kept else None

    def without_secrets(self) -> "Settings":
        """A copy with all secrets unset, which may be sent to other machines."""
        secrets = {name: None for name in type(self).model_fields if isinstance(getattr(self, name), SecretStr)}
        return self.model_copy(update={**secrets, "old_pseudonym_keys": ()})

    def pseudonym_keys(self) -> tuple[SecretStr, ...]:
        """Every key of pseudonyms, the oldest first; empty without SER_PSEUDONYM_KEY."""
        keys = (*self.old_pseudonym_keys, self.pseudonym_key)
        return tuple(key for key in keys if key and key.get_secret_value()) if keys[-1] and keys[-1].get_secret_value() else ()

    @field_validator("transcript_pattern")
    @classmethod
    def _names_a_stem(cls, pattern: str | None) -> str | None:
        if pattern is not None and "stem" not in re.compile(pattern).groupindex:
            raise ValueError(f"{pattern!r} has no group stem: write one such as (?P<stem>.+)_analytics[.]json.")
        return pattern

    @field_validator("file_name_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        re.compile(pattern)
        return pattern

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except Exception:
            raise ValueError(f"{name!r} is not a time zone: write one such as Europe/Berlin or UTC.") from None
        return name

    @field_validator("metrics_file")
    @classmethod
    def _collected(cls, path: Path | None) -> Path | None:
        if path is not None and (path.suffix != ".prom" or not path.is_absolute()):
            raise ValueError(f"{path} is never collected: name a file by its whole path, ending in .prom.")
        return path

    @field_validator("metrics_token")
    @classmethod
    def _hard_to_guess(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and len(token.get_secret_value()) < TOKEN_CHARACTERS:
            raise ValueError(f"it has fewer than {TOKEN_CHARACTERS} characters: openssl rand -hex 32 makes a good one.")
        return token

    @field_validator("dashboard_url")
    @classmethod
    def _plain_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s?#@\"'<>]+", url):
            raise ValueError(f"{url!r} is not an address of a dashboard: write one such as https://moods.example.org.")
        return url.rstrip("/") if url else None

    @field_validator("smtp_security")
    @classmethod
    def _known_security(cls, name: str) -> str:
        if name not in ("starttls", "tls", "none"):
            raise ValueError(f"{name!r} is not a kind of mail security: choose starttls, tls or none.")
        return name

    @field_validator("line_by")
    @classmethod
    def _line_facts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return checked_line_facts(names)

    @field_validator("precision")
    @classmethod
    def _known_precision(cls, name: str) -> str:
        if name not in (known := ("auto", "float32", "bfloat16", "float16", "int8")):
            raise ValueError(f"{name!r} is not a precision: choose {', '.join(known[:-1])} or {known[-1]}.")
        return name


def checked_line_facts(names: tuple[str, ...]) -> tuple[str, ...]:
    """Facts that may name a line. Raises ValueError for one that no call has, and for one that is named twice."""
    if unknown := [name for name in names if name not in LINE_FACTS]:
        raise ValueError(f"{unknown[0]!r} is no fact that names a line: choose among {', '.join(LINE_FACTS)}.")
    if len(set(names)) != len(names):
        raise ValueError(f"The facts that name a line are {', '.join(names)}: name each once.")
    return names


@functools.cache
def code_version() -> str:
    """The version of this code, as every row carries it: that of the checkout it runs from, else that of the installed package.

    Both are made from git: ``0.1+g1a2b3c4d5e6f``, in a wheel ``0.1.dev226+g1a2b3c4d5``.
    """
    installed = version("ser-nightly")
    commit = commit_of(Path(__file__).parents[1])
    return f"{Version(installed).base_version}+{commit}" if commit else installed


def commit_of(checkout: Path) -> str | None:
    """The commit of a git checkout, as ``g<hash>``; with ``.d<hash of the changes>`` where tracked files differ from it.

    None where the folder is no checkout, or git is not installed or refuses it.
    """
    if not (checkout / ".git").exists():
        return None

    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", "-C", str(checkout), *arguments], capture_output=True, check=True, timeout=30).stdout

    try:
        commit = git("rev-parse", "--short=12", "HEAD").decode().strip()
        changes = git("diff", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"g{commit}" + (f".d{hashlib.sha256(changes).hexdigest()[:8]}" if changes else "")
