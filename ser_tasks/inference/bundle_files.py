"""Where bundles lie, and whether their files are there: without torch, since a night asks before it loads anything."""

import itertools
from pathlib import Path, PurePosixPath

from ser_tasks.storage import Store, open_store

SHIPPED = Path(__file__).parent / "bundles"
PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")


def shipped_bundles() -> list[str]:
    """Names of the bundles in the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/bundle.json"))


def uri_of_bundle(name_or_uri: str | Path) -> str:
    """The folder of a shipped bundle by its name, else what was given."""
    return str(SHIPPED / str(name_or_uri)) if str(name_or_uri) in shipped_bundles() else str(name_or_uri)


def store_of_bundle(name_or_uri: str | Path) -> Store:
    """The store of a bundle. Raises FileNotFoundError where a file is missing, and ValueError for pickled weights."""
    uri = uri_of_bundle(name_or_uri)
    store = open_store(uri)
    if not store.exists("bundle.json"):
        _refuse_pickles(store)
        shipped = ", ".join(shipped_bundles())
        raise FileNotFoundError(f"There is no bundle.json at {uri}: give a shipped bundle ({shipped}), a folder, or s3://bucket/prefix.")
    if not store.exists("model.safetensors"):
        _refuse_pickles(store)
        raise FileNotFoundError(f"There is no model.safetensors at {uri}: the bundle is incomplete, copy it again.")
    return store


def _refuse_pickles(store: Store) -> None:
    for stored in itertools.islice(store.list(), 1000):
        if PurePosixPath(stored.key).suffix.lower() in PICKLE_SUFFIXES:
            raise ValueError(
                f"{stored.key} at {store.uri} is refused: such files are pickles, which can run code when they are loaded. "
                "Convert the weights to model.safetensors (safetensors.torch.save_file) where you trust them."
            )
