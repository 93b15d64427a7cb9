"""What is checked before a run loads anything: a command that cannot start says so at once."""

import contextlib
import tempfile
from pathlib import Path

from ser_tasks.calls.opt_out import read as read_opt_out
from ser_tasks.calls.policy import policy_named
from ser_tasks.inference.bundle_files import store_of_bundle
from ser_tasks.inference.devices import check_device_name
from ser_tasks.lake import key_chain
from ser_tasks.lake.promotions import chosen_model
from ser_tasks.settings import Settings
from ser_tasks.storage import open_store


def run_settings(
    settings: Settings, model: str | None, policy: str | None, lake: str | None = None, transcripts: str | None = None
) -> Settings:
    """Settings with a run's own policy and store of transcripts, where they are given, and its model: the one given, SER_MODEL, or the
    lake's default."""
    chosen = chosen_model(settings, lake, model) if lake else model or settings.model
    given = {"model": chosen, "policy": policy or settings.policy, "transcripts": transcripts or settings.transcripts}
    return settings.model_copy(update=given)


def check_start(recordings: str, lake: str, settings: Settings, device: str) -> None:
    """Raises what ``spec.preflight`` raises, apart from what only torch can say: of the device, and of the content of the model's files."""
    policy_named(settings.policy)
    check_device_name(device)
    read_opt_out(settings)
    open_store(recordings).check()
    if settings.transcripts:
        open_store(settings.transcripts).check()
    with contextlib.suppress(FileNotFoundError):  # the first write makes the lake's folder
        open_store(lake).check()
    if (folder := open_store(lake).local_root) is not None:
        check_writable(folder, "lake", "give a folder that this user may write to")
    check_writable(Path(settings.scratch or tempfile.gettempdir()), "scratch folder", "set SER_SCRATCH to one that this user may write to")
    key_chain.check(open_store(lake), settings)
    store_of_bundle(settings.model)


def check_writable(folder: Path, what: str, advice: str) -> None:
    """Raises OSError where a folder, or the nearest one above it that exists, can't be written. Leaves nothing there."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(prefix=".ser-", dir=nearest) as file:
            file.write(b"-")
    except OSError as error:
        raise OSError(f"The {what} {folder} can't be written ({error.strerror}): {advice}.") from None
