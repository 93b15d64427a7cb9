"""One frozen settings object, read once at the edge from ``SER_*`` environment variables."""

import functools
import hashlib
import re
import subprocess
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from packaging.version import Version
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

RECORDING_SUFFIXES = (
    *(".wav", ".wave", ".rf64", ".w64", ".aif", ".aiff", ".au", ".caf", ".sph", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".m4a", ".mp4", ".aac", ".amr", ".3gp", ".webm", ".mka", ".wma", ".gsm"),
    *(".ulaw", ".ul", ".mulaw", ".pcmu", ".alaw", ".al", ".pcma", ".vox", ".sln"),
)


class GroupRights(BaseModel):
    """What a group of viewers of the dashboard may see and do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queues: tuple[str, ...] | Literal["all"] = ()
    may_play: bool = False


class Settings(BaseSettings):
    """Everything a site may set. Each field is read from the variable ``SER_<FIELD>``; maps and lists as JSON; empty is unset."""

    model_config = SettingsConfigDict(env_prefix="SER_", frozen=True, extra="ignore", env_ignore_empty=True)

    pseudonym_key: SecretStr | None = Field(None, description="Key of the HMAC that pseudonymises ids; without it ids are null.")
    policy: str = Field("customers_only", description="Whose emotion is scored: a name in ser_tasks/policy.py.")
    model: str = Field("ge2e_tcn", description="Model bundle: a shipped name, a folder or s3://bucket/prefix.")
    priors: dict[str, float] = Field(
        {},
        description='How frequent each emotion is on these calls, as {"anger": 0.05, "happiness": 0.1, "neutral": 0.8, "sadness": 0.05}: '
        "probabilities are corrected to it. Unset: as trained, all equally frequent.",
    )
    channel_roles: dict[int, str] = Field({}, description='Roles where no sidecar says them, as {"0": "agent", "1": "customer"}.')
    time_zone: str = Field("UTC", description="Zone of start times that say none, and of call_date.")
    file_name_pattern: str = Field(
        r"_?CUST_(?P<customer_id>[^_]+)_GUID_(?P<call_id>[^_]+)_AGENT_(?P<agent_id>[^_]+)_DT_(?P<started_at>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)",
        description="Searched in the file name's stem; its named groups are facts of the call.",
    )
    recording_suffixes: tuple[str, ...] = Field(RECORDING_SUFFIXES, description="Keys that end so are recordings.")

    chunk_audio_s: float = Field(7200, gt=0, description="Audio budget of a chunk, in (guessed) seconds.")
    chunk_recordings: int = Field(500, gt=0, description="At most so many recordings in a chunk.")
    max_duration_s: float = Field(6 * 3600, gt=0, description="Longer recordings are quarantined.")
    max_attempts: int = Field(5, gt=0, description="A recording that failed so often is left alone until it is uploaded again.")

    recording_limit_s: float = Field(
        300,
        gt=0,
        description="A worker that takes longer for its recordings (plus a tenth of their audio, all of it to score them) is killed; "
        "the recording that it was at is tried once more alone.",
    )
    worker_memory_mb: int | None = Field(
        4096, ge=512, description="Memory that a worker may take; a recording that needs more fails. null: no limit."
    )

    min_segment_s: float = Field(1.0, gt=0, description="Shorter speech is counted, but no emotion is read from it.")
    max_segment_s: float = Field(6.0, gt=0, description="Longer speech is cut at its quietest point.")

    keep_segments_days: int | None = Field(
        None, gt=0, description="Age in days after which `ser retention` deletes a day's segments; unset: kept for ever."
    )
    keep_calls_days: int | None = Field(
        None,
        gt=0,
        description="Age in days after which `ser retention` deletes a day's call_emotions, reports and alerts; unset: kept for ever.",
    )
    alerts: str | None = Field(None, description="File of the alerts' rules; deploy/alerts.yaml if unset.")
    alert_webhook_url: SecretStr | None = Field(
        None, description="Address that takes alerts as a POST of JSON, from Prefect's automations and from the rules: it is a secret."
    )
    smtp_host: str | None = Field(None, description="Server that takes mail for alerts and pages.")
    smtp_port: int = Field(587, gt=0, lt=65536, description="Its port: 587 with STARTTLS, 465 with TLS from the start.")
    smtp_security: str = Field("starttls", description="starttls, tls (from the start), or none: then there is no login, either.")
    smtp_user: str | None = Field(None, description="Login at the mail server; unset: none.")
    smtp_password: SecretStr | None = Field(None, description="Password of that login.")
    mail_from: str | None = Field(None, description="Sender of the mail, as ser@example.org.")
    mail_to: str | None = Field(None, description="Who gets the mail: addresses, with commas between.")

    reference_month: date | None = Field(
        None, description="A day of the month that drift is measured against, in the report and the alerts; the first whole month if unset."
    )
    price_machine_hour: float | None = Field(None, ge=0, description="Price of a machine for an hour, for the night's report.")
    price_gb_month: float | None = Field(None, ge=0, description="Price of keeping 10^9 bytes for a month, for the night's report.")
    currency: str = Field("", description="Currency of these prices, as EUR; it is only printed.")

    dashboard_secret: SecretStr | None = Field(
        None,
        description="Password by which the proxy before the dashboard proves itself (HTTP Basic). Unset: no sign-in, loopback only.",
    )
    dashboard_groups: dict[str, GroupRights] = Field(
        {},
        description='What each group of viewers may see: {"billing-leads": {"queues": ["billing"], "may_play": true}, '
        '"quality": {"queues": "all"}}. Who is in no such group sees nothing.',
    )
    dashboard_user_header: str = Field("X-Forwarded-User", description="Header in which the proxy says who looks.")
    dashboard_groups_header: str = Field(
        "X-Forwarded-Groups", description="Header in which the proxy says their groups, with commas between."
    )
    dashboard_refresh_s: float = Field(300, gt=0, description="How often the dashboard looks for new parts in the lake, in seconds.")
    dashboard_url: str | None = Field(
        None, description="Where viewers reach the dashboard, as https://moods.example.org: mailed pages link to it. Unset: no links."
    )
    weekly_to: dict[str, tuple[str, ...]] = Field(
        {},
        description="Who is mailed the weekly page, and the groups of SER_DASHBOARD_GROUPS whose queues it shows them: "
        '{"lead@example.org": ["billing-leads"]}.',
    )

    frames_per_batch: int | None = Field(None, gt=0, description="Frames in one batch of the model; by device if unset (score.py).")
    precision: str = Field("float32", description="float32, or bfloat16/float16 where the scores stay within 1e-2 of float32's.")
    cluster: str | None = Field(
        None, description="Dask scheduler whose workers handle the chunks, as tcp://scheduler:8786; if unset, this machine's cores do."
    )
    scratch: str | None = Field(None, description="Folder for frame features and downloads; the system's temporary folder if unset.")

    def first_open_day(self) -> date | None:
        """The oldest day of which everything is kept; None where nothing is ever deleted.

        Nothing of an older day is planned or scored: what was deleted would come back.
        """
        kept = [days for days in (self.keep_segments_days, self.keep_calls_days) if days is not None]
        return datetime.now(UTC).date() - timedelta(days=min(kept)) if kept else None

    def without_secrets(self) -> "Settings":
        """The same, every secret unset: what may be sent to other machines."""
        return self.model_copy(update={name: None for name in type(self).model_fields if isinstance(getattr(self, name), SecretStr)})

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
            raise ValueError(f"{name!r} is no time zone: write one such as Europe/Berlin or UTC.") from None
        return name

    @field_validator("dashboard_url")
    @classmethod
    def _plain_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s?#@\"'<>]+", url):
            raise ValueError(f"{url!r} is no address of a dashboard: write it as https://moods.example.org.")
        return url.rstrip("/") if url else None

    @field_validator("smtp_security")
    @classmethod
    def _known_security(cls, name: str) -> str:
        if name not in ("starttls", "tls", "none"):
            raise ValueError(f"{name!r} is no way to secure mail: choose starttls, tls or none.")
        return name

    @field_validator("precision")
    @classmethod
    def _known_precision(cls, name: str) -> str:
        if name not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"{name!r} is no precision: choose float32, bfloat16 or float16.")
        return name


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
