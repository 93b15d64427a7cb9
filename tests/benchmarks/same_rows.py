"""Compares the rows of two lakes, such as those of one store scored before and after a change of the code.

python -m tests.benchmarks.same_rows LAKE OTHER     # exit code 1 where they differ by more than is allowed
"""

import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ser_tasks.lake import catalog

EDGE_S = 0.064
"""Segments are the same if their edges are at most two windows of the detector apart."""
PROBABILITY = 1e-3
_RECORDING, _PLACE = ["recording_id"], ["recording_id", "channel", "place"]


@dataclass
class Differences:
    """What two lakes differ by. Segments are compared in their order within a channel."""

    recordings: int = 0
    """In either lake."""
    outcomes: list[str] = field(default_factory=list)
    """Recordings that only one lake has, or that ended otherwise."""
    segments: int = 0
    counts: list[str] = field(default_factory=list)
    """Channels with another number of segments."""
    edges: list[str] = field(default_factory=list)
    """Recordings with an edge that is more than EDGE_S away, or with another number of segments."""
    edge_s: float = 0.0
    probability: float = 0.0
    """Largest difference of a segment whose edges are the same."""
    unscored: int = 0
    """Segments that one lake scored, and the other did not."""

    @property
    def same(self) -> bool:
        """Outcomes and scored segments are the same, probabilities within PROBABILITY, edges of 99 % of the recordings within EDGE_S."""
        close = len(self.edges) <= 0.01 * self.recordings
        return not self.outcomes and not self.unscored and self.probability <= PROBABILITY and close

    def report(self) -> str:
        return (
            f"{self.recordings} recordings, {self.segments} segments: {len(self.outcomes)} other outcomes, {len(self.counts)} channels "
            f"with another number of segments, {len(self.edges)} recordings with another edge (at most {self.edge_s:.3f} s), "
            f"{self.unscored} segments scored in one lake only, probabilities at most {self.probability:.2g} apart"
        )


def differences(one: str, other: str) -> Differences:
    """Compares two lakes over the same store. Recordings are known by their ids."""
    found = Differences()
    outcomes, segments = zip(*map(_rows, (one, other)), strict=True)
    both = outcomes[0].merge(outcomes[1], on=_RECORDING, how="outer", suffixes=("_one", "_other"))
    found.recordings = len(both)
    found.outcomes = both.loc[both["outcome_one"].ne(both["outcome_other"]), "recording_id"].tolist()
    joined = segments[0].merge(segments[1], on=_PLACE, how="outer", suffixes=("_one", "_other"))
    found.segments = len(joined)
    lone = joined["start_s_one"].isna() | joined["start_s_other"].isna()
    channels = joined.loc[lone, ["recording_id", "channel"]].drop_duplicates()
    found.counts = [f"{recording} {channel}" for recording, channel in channels.itertuples(index=False)]
    edges = [(joined[f"{edge}_one"] - joined[f"{edge}_other"]).abs() for edge in ("start_s", "end_s")]
    apart = pd.concat(edges, axis=1).max(axis=1)
    found.edge_s = float(apart.max()) if len(joined) else 0.0
    found.edges = sorted(set(joined.loc[lone | (apart > EDGE_S + 1e-6), "recording_id"]))
    alike = joined[apart < 1e-6]
    labels = [name.removesuffix("_one") for name in joined if name.startswith("p_") and name.endswith("_one")]
    first, second = (alike[[f"{label}_{lake}" for label in labels]].to_numpy(np.float64, na_value=np.nan) for lake in ("one", "other"))
    found.unscored = int((np.isnan(first).all(axis=1) != np.isnan(second).all(axis=1)).sum())
    found.probability = float(np.nan_to_num(np.abs(first - second)).max(initial=0))
    return found


def _rows(lake: str) -> tuple[Any, Any]:
    with catalog.connect(lake) as connection:
        outcomes = connection.sql("SELECT recording_id, outcome FROM outcomes").to_arrow_table().to_pandas()
        segments = connection.sql(
            "SELECT recording_id, channel, row_number() OVER (PARTITION BY recording_id, channel ORDER BY start_s) AS place, "
            "start_s, end_s, COLUMNS('p_.*') FROM segments"
        )
        return outcomes, segments.to_arrow_table().to_pandas()


if __name__ == "__main__":
    answer = differences(*sys.argv[1:3])
    print(answer.report())
    sys.exit(not answer.same)
