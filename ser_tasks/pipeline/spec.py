"""What a run is: its stores, model, policy and settings. Sent as it is to worker processes and to the machines of a cluster."""

import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from ser_tasks.calls.opt_out import OptOut
from ser_tasks.calls.opt_out import read as read_opt_out
from ser_tasks.inference.bundle import Bundle, shared_bundle
from ser_tasks.inference.scorer import ScorerSpec, choose_device, with_usable_precision
from ser_tasks.lake import key_chain, manifest
from ser_tasks.lake import profiles as lake_profiles
from ser_tasks.lake.key_chain import LakeKeys
from ser_tasks.pipeline.start_checks import check_start, run_settings
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store
from ser_tasks.transcripts.recognition import RecogniserSpec

__all__ = ["RunSpec", "key_fingerprint", "load_model", "make_spec", "preflight", "run_settings", "with_profile"]


@dataclass(frozen=True)
class RunSpec:
    """One run's specification. Holds no secret, and nothing that depends on the machine."""

    run_id: str
    started_at: datetime
    recordings_uri: str
    lake_uri: str
    settings: Settings
    """Without secrets; its ``model`` and ``policy`` are those of the run."""
    device: str
    """As the user said: auto, cpu or cuda. Each machine has its own."""
    workers: int | None
    """Extraction processes on each machine; None: one for each core."""
    day: date | None
    """The only day to list; None: all."""
    only_planned: bool
    """Whether new recordings are left to another run."""
    model_id: str
    feature_set: str
    feature_params: dict[str, Any]
    key_fingerprint: str | None
    """Says whether the lake's keys of pseudonyms are the same on two machines: their fingerprints; None without a key."""
    keyed_recordings: bool
    """Whether the ids of recordings are made with these keys, too."""
    preparation_s: float
    """Seconds it took to check the stores and load the model."""
    profiles: tuple[str, ...] = ()
    """Keys of the model's line profiles in the lake that the run uses, oldest first."""
    of_profile: str | None = None
    """The only profile that is used, by its id, for recordings of any time: of a re-score. Its scores lie beside those of the nights."""
    opt_out: OptOut = OptOut()
    """Who is never scored, as the list was when the run started."""
    recogniser: RecogniserSpec | None = None
    """What makes transcripts of calls that have none; None but in the stage that does that."""

    @property
    def model(self) -> str:
        """The model bundle as the user named it: a shipped name, a folder or s3://bucket/prefix."""
        return self.settings.model

    @property
    def policy(self) -> str:
        return self.settings.policy

    @property
    def version(self) -> str:
        """The ``version=`` folder of this run's parts."""
        return manifest.version_of(self.model_id, self.policy, self.of_profile)

    def scorer(self, device: str) -> ScorerSpec:
        """The scorer of this run on a device of this machine, cpu or cuda, in the precision that it uses."""
        settings = self.settings
        priors = tuple(settings.priors.items())
        asked = ScorerSpec(self.model, self.model_id, device, settings.frames_per_batch, settings.precision, priors)
        return with_usable_precision(asked)


def preflight(recordings: str, lake: str, settings: Settings, device: str) -> Bundle:
    """The bundle of a run, after everything was checked that is needed to start it.

    Raises ValueError for an unknown policy, device, model or kind of store, for a short key, where the lake was made with other keys than
    the settings', and for an opt-out list that can't be read; FileNotFoundError where there is no folder of recordings; StoreAccessError
    or ConnectionError where S3 can't be listed; OSError where a local lake or scratch can't be written.
    """
    check_start(recordings, lake, settings, device)
    return load_model(settings, device)


def load_model(settings: Settings, device: str) -> Bundle:
    """What ``preflight`` does after ``check_start``: the bundle, once it is known that the device is there."""
    choose_device(device)
    return shared_bundle(settings.model, settings.priors)


def make_spec(
    recordings: str,
    lake: str,
    settings: Settings,
    device: str = "auto",
    workers: int | None = None,
    day: date | None = None,
    only_planned: bool = False,
) -> RunSpec:
    """The specification of a new run. Raises what ``preflight`` raises, and BrokenPartError for a line profile that cannot be read."""
    begun = time.perf_counter()
    bundle = preflight(recordings, lake, settings, device)
    lake_keys = key_chain.check(open_store(lake), settings)
    opt_out = read_opt_out(lake_keys.of(settings))
    return RunSpec(
        run_id=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        started_at=datetime.now(UTC),
        recordings_uri=open_store(recordings).uri,
        lake_uri=open_store(lake).uri,
        settings=_with_whole_uris(settings.without_secrets()),
        device=device,
        workers=workers,
        day=day,
        only_planned=only_planned,
        model_id=bundle.model_id,
        feature_set=bundle.feature_set,
        feature_params=bundle.feature_params,
        key_fingerprint=key_fingerprint(lake_keys),
        keyed_recordings=bool(lake_keys.recordings),
        preparation_s=time.perf_counter() - begun,
        opt_out=opt_out,
        profiles=tuple(lake_profiles.keys(open_store(lake), bundle.model_id)) if bundle.takes_lines else (),
    )


def _with_whole_uris(settings: Settings) -> Settings:
    """The settings with what other machines find by the same name."""
    return settings.model_copy(update={"transcripts": open_store(settings.transcripts).uri if settings.transcripts else None})


def with_profile(spec: RunSpec, profile: str) -> RunSpec:
    """The specification of a re-score by one line profile: its id, the beginning of that, or ``newest``.

    Raises ValueError where there is no such profile, or the model takes none.
    """
    if not shared_bundle(spec.model, spec.settings.priors).takes_lines:
        raise ValueError(f"The model {spec.model_id} takes no line profile: leave --profile out, or choose another --model.")
    ids = [lake_profiles.id_of(key) for key in spec.profiles]
    chosen = ids[-1:] if profile == "newest" else [each for each in ids if each.startswith(profile)]
    if len(chosen) != 1:
        known = f"it has {', '.join(ids)}" if ids else "it has none: make one with `ser adapt`"
        raise ValueError(f"{profile!r} names {len(chosen)} line profiles of {spec.model_id} in the lake: {known}.")
    return replace(spec, of_profile=chosen[0])


def key_fingerprint(lake_keys: LakeKeys) -> str | None:
    """The fingerprints of a lake's keys, the oldest first; None without a key."""
    return " ".join(lake_keys.fingerprints()) or None
