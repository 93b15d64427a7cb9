"""What the commands share: the application, common options, and the way errors are shown."""

import contextlib
import functools
import inspect
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from ser_tasks.printable import printable

END_LIMIT_S = 8.0
"""From a program's last line to its end: Prefect sends its server what it still holds, or retries for hours where that is gone."""


class Program(typer.Typer):
    """The application, which ends soon after its last work when it is run as a program."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        ending, ended = {"exit_code": 1}, threading.Event()
        threading.Thread(target=_end_in_time, args=(ending, ended), name="ending", daemon=True).start()
        try:
            if (asked := _only_a_query(sys.argv[1:])) and not arguments and not options:
                [command] = [each.callback for each in self.registered_commands if each.callback and each.callback.__name__ == "sql"]
                return command(asked[1], lake=asked[0])
            return super().__call__(*arguments, **options)
        except SystemExit as end:
            ending["exit_code"] = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise
        finally:
            ended.set()


def _only_a_query(arguments: list[str]) -> tuple[str, str] | None:
    """Lake and query of ``sql --lake LAKE QUERY``, which is called so often that loading the parser of options (pydantic) would cost
    more than the query; None for anything else, which the parser reads."""
    match arguments:
        case ["sql", "--lake", lake, query] | ["sql", query, "--lake", lake] if not (lake.startswith("-") or query.startswith("-")):
            return lake, query
    return None


def _end_in_time(ending: dict[str, int], ended: threading.Event) -> None:
    ended.wait()  # not the end of the main thread, which runs what others registered for its end, without a limit
    time.sleep(END_LIMIT_S)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if "flows.server" in sys.modules:
        sys.modules["flows.server"].kill_servers()
    os._exit(ending["exit_code"])


def echo(message: Any = None, file: IO[Any] | None = None, nl: bool = True, err: bool = False, color: bool | None = None) -> None:
    """As click's echo, with control characters written as text: names, metadata and reasons come from outside."""
    _click_echo(None if message is None else printable(message), file, nl, err, color)


_click_echo, typer.echo = typer.echo, echo  # every command prints by typer.echo, so none can forget


app = Program(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Speech emotion recognition on call recordings, every night. Start with: `ser demo`",
)

Lake = Annotated[str, typer.Option(help="Folder or s3://bucket/prefix of the lake.")]

Corpora = Annotated[
    list[Path],
    typer.Option(help="A corpus in its published layout, a folder with labels.csv, or a folder of these; may be given several times."),
]

Processes = Annotated[int | None, typer.Option(min=1, help="Processes; by default one for each core.")]

Cache = Annotated[Path | None, typer.Option(help="Folder for features and checkpoints; by default ser-nightly in the user's cache folder.")]


Encoder = Annotated[
    Path | None,
    typer.Option(help="Folder of the pretrained encoder of wav2vec2, wavlm, hubert or emotion2vec, as published; by default SER_ENCODERS."),
]


class Device(StrEnum):
    auto, cpu, cuda = "auto", "cpu", "cuda"


Recordings = Annotated[str, typer.Option(help="Folder or s3://bucket/prefix of the recordings.")]

Model = Annotated[str | None, typer.Option(help="Model bundle: a name from `ser models`, a folder or s3://bucket/prefix.")]

RunsOn = Annotated[Device, typer.Option(help="Where the model runs; auto uses CUDA if available.")]

Policy = Annotated[str | None, typer.Option(help="Whose emotion is scored: a name in ser_tasks/calls/policy.py.")]


class Format(StrEnum):
    table, vertical, csv, json, parquet = "table", "vertical", "csv", "json", "parquet"


def use_encoder(folder: Path | None) -> None:
    """Makes the folder of ``--encoder`` that of this process and of those that it starts. Raises FileNotFoundError where it is none."""
    if folder is None:
        return
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}: --encoder names the folder of a pretrained encoder.")
    os.environ["SER_ENCODERS"] = str(folder.resolve())


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """The command with errors for users: bad input prints one line that says what to do, with exit code 2. A bug keeps its traceback."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except (ValueError, OSError) as error:
            raise failure(error, 2) from None
        except Exception as error:
            if type(error).__module__.partition(".")[0] in ("botocore", "duckdb", "_duckdb"):
                raise failure(error, 2) from None
            raise

    return run


def failure(message: object, exit_code: int = 1) -> SystemExit:
    """Prints a message to standard error, and returns the exception that ends the program with this exit code."""
    from ser_tasks import logs

    typer.secho(printable(logs.error_line(message)), err=True, fg=None if logs.is_json() else "red")
    return SystemExit(exit_code)


EmptyOk = Annotated[bool, typer.Option("--empty-ok", help="Go on where no night has written to the lake; without it, that is an error.")]


def of_nights(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the option --empty-ok: without it, a ``lake`` to which no night has written is an error before anything is done."""
    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("empty_ok", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=EmptyOk)

    @functools.wraps(command)
    def run(*arguments: Any, empty_ok: bool = False, **options: Any) -> None:
        lake = signature.bind(*arguments, **options).arguments.get("lake")
        if lake is not None and not empty_ok:
            from ser_tasks.lake.nights import require_nights

            require_nights(lake)
        command(*arguments, **options)

    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    run.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()} | {"empty_ok": EmptyOk, "return": None}
    return run


def parse_day(text: str) -> date:
    """A date written as 2026-11-20. Raises ValueError for any other text."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day: write it as 2026-11-20.") from None
