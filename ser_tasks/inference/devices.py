"""The names of devices, for those who check them before torch is loaded."""

DEVICES = ("auto", "cpu", "cuda")


def check_device_name(name: str) -> None:
    """Raises ValueError where a device has another name."""
    if name not in DEVICES:
        raise ValueError(f"{name!r} is no device: choose {', '.join(DEVICES[:-1])} or {DEVICES[-1]}.")
