"""Exports what reviewers heard as a folder of labelled recordings, which ``ser train``, ``ser evaluate`` and ``ser promote`` read."""

import csv
import shutil
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ser_tasks.dashboard.playback import Playback, PlaybackError
from ser_tasks.lake import catalog, read_only
from ser_tasks.scratch import atomic_write
from ser_tasks.settings import Settings

COLUMNS = ("file", "speaker", "emotion", "start_s", "end_s", "channel", "language")
LABELS = """
    SELECT l.recording_id, l.etag AS judged_etag, c.etag, c.key, l.channel, l.start_s, l.end_s, l.emotion, c.channel_roles, c.language,
        coalesce(c.customer_pseudonym, l.recording_id) AS speaker
    FROM review_labels AS l JOIN call_emotions AS c USING (recording_id)
    WHERE c.outcome IN ('scored', 'no_speech') AND c.notice_given IS DISTINCT FROM false
    ORDER BY ALL
    """
NOTES = """
    SELECT recording_id, channel, start_s, end_s, string_agg(note, ' | ' ORDER BY reviewed_at) AS note
    FROM reviews WHERE note IS NOT NULL GROUP BY ALL
    """


@dataclass(frozen=True)
class Exported:
    """What was written, and what was left out."""

    labels: int
    recordings: int
    whole_calls: int
    """Labels of whole calls that were left out, as they were not asked for."""
    disputed: int
    """Stretches and calls left out since as many reviewers hear one emotion as another."""
    left_out: Counter[str]
    """Recordings left out, by reason."""

    def lines(self) -> list[str]:
        """The counts in lines."""
        lines = [f"{self.labels} labels of {self.recordings} recordings"]
        lines += [f"{self.whole_calls} labels of whole calls left out: --calls adds them"] if self.whole_calls else []
        lines += [f"{self.disputed} left out: reviewers hear different emotions"] if self.disputed else []
        return [*lines, *(f"{count} recordings left out: {why}" for why, count in self.left_out.items())]


def export(lake: str, recordings: str, out: Path, settings: Settings, calls: bool = False, notes: bool = False) -> Exported:
    """Writes ``labels.csv`` and copies of the recordings to ``out``. Emotions are those that most reviewers of a stretch hear.

    The files are named after the recordings' ids. With ``calls`` labels of whole calls are written, too, on the customer's channel; with
    ``notes`` a column with the notes. Raises FileExistsError where ``out`` has labels already, and ValueError where there is no label.
    """
    if (out / "labels.csv").exists():
        raise FileExistsError(f"{out / 'labels.csv'} exists already: name another folder.")
    with catalog.connect(lake) as connection:
        labels = read_only.query(connection, LABELS).to_pylist()
        noted = {_unit(row): row["note"] for row in read_only.query(connection, NOTES).to_pylist()} if notes else {}
    chosen, disputed = _agreed(labels)
    whole = [row for row in chosen if row["channel"] is None]
    wanted = chosen if calls else [row for row in chosen if row["channel"] is not None]
    if not wanted:
        more = f" There are {len(whole)} of whole calls: --calls exports them." if whole and not calls else ""
        raise ValueError(f"No review in {lake} says which emotion a stretch has: judge stretches on the dashboard first.{more}")
    files, left_out = _copied(recordings, wanted, out, settings)
    rows = [_row(row, files[row["recording_id"]]) | {"note": noted.get(_unit(row), "")} for row in wanted if row["recording_id"] in files]
    if not rows:
        raise ValueError(f"None of the {len(wanted)} labelled recordings is in {recordings} any more: {', '.join(left_out)}.")
    with atomic_write(out / "labels.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *(["note"] if notes else [])], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return Exported(len(rows), len(files), 0 if calls else len(whole), disputed, left_out)


def _agreed(labels: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """One row for each stretch or call, with the emotion that most reviewers hear; and the number of those without a majority."""
    by_unit: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in labels:
        by_unit[_unit(row)].append(row)
    chosen, disputed = [], 0
    for rows in by_unit.values():
        ranked = Counter(row["emotion"] for row in rows).most_common(2)
        if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
            disputed += 1
        else:
            chosen.append(next(row for row in rows if row["emotion"] == ranked[0][0]))
    return chosen, disputed


def _unit(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["recording_id"], row["channel"], row["start_s"], row["end_s"]


def _copied(recordings: str, rows: list[dict[str, Any]], out: Path, settings: Settings) -> tuple[dict[str, str], Counter[str]]:
    """Copies each recording into ``out``: the names by recording, and the reasons why others have none."""
    playback, files, left_out = Playback(recordings, settings), dict[str, str](), Counter[str]()
    (out / "recordings").mkdir(parents=True, exist_ok=True)
    for row in {row["recording_id"]: row for row in rows}.values():
        if row["judged_etag"] != row["etag"]:
            left_out["uploaded again since it was judged"] += 1
            continue
        name = f"recordings/{row['recording_id']}{PurePosixPath(row['key']).suffix}"
        try:
            with tempfile.TemporaryDirectory(dir=out) as folder:
                path = playback.fetch(row, Path(folder))
                with atomic_write(out / name) as temporary:
                    shutil.copyfile(path, temporary)
        except PlaybackError as error:
            left_out[str(error)] += 1
        else:
            files[row["recording_id"]] = name
    return files, left_out


def _row(row: dict[str, Any], file: str) -> dict[str, Any]:
    channel = row["channel"]
    if channel is None:  # a whole call: the one channel on which the customer speaks; a mix has none
        customers = [number for number, role in enumerate((row["channel_roles"] or "").split(",")) if role == "customer"]
        channel = customers[0] if len(customers) == 1 else None
    stated = {"file": file, "speaker": row["speaker"], "emotion": row["emotion"], "language": row["language"]}
    return stated | {"start_s": row["start_s"], "end_s": row["end_s"], "channel": channel}
