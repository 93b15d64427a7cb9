"""Real calls as mono mixes: what is mixed, and what is taken for the truth."""

import numpy as np
import pytest
import soundfile

from ser_tasks.evaluation.mono_mixdowns import mix_and_truth, run
from tests.factories.mono import SPOKEN, mixed

AGENT, CUSTOMER = (mixed([turn for turn in SPOKEN if turn[0] == role]) for role in ("agent", "customer"))
CUES = "".join(
    f"{number}\n00:00:{start:06.3f} --> 00:00:{end:06.3f}\n[{who.title()}] Words\n\n".replace(".", ",")
    for number, (who, start, end) in enumerate(SPOKEN, 1)
)


@pytest.fixture
def files(tmp_path):
    soundfile.write(tmp_path / "two.wav", np.stack([CUSTOMER, AGENT + 0.02 * CUSTOMER], axis=1), 8000)
    soundfile.write(tmp_path / "one.wav", (AGENT + CUSTOMER) / 2, 8000)
    (tmp_path / "one.srt").write_text(CUES)
    return tmp_path


def test_channels_or_a_transcript_say_who_speaks(files):
    two, by_channels = mix_and_truth(files / "two.wav", files, agent=1)
    one, by_cues = mix_and_truth(files / "one.wav", files)
    assert np.abs(two - one).max() < 0.02 and by_channels.shape == by_cues.shape == (2, 2300)
    assert (by_channels == by_cues).mean() > 0.88
    assert by_channels[:, 150:350].mean(axis=1).tolist() == [1, 0]


def test_a_wrong_direction_shows_in_the_figures(files):
    right, wrong = (run([files / "two.wav"], direction, files, agent=1).iloc[0] for direction in ("inbound", "outbound"))
    assert right.released and right.agent_s < 0.2 and right.released_s > 5 and right.der < 0.1
    assert wrong.released and wrong.agent_s > 0.9 * wrong.released_s


def test_a_recording_without_a_truth_is_an_error(files):
    (files / "one.srt").unlink()
    with pytest.raises(ValueError, match=r"one.wav has 1 channels and no one.srt: use two channels"):
        mix_and_truth(files / "one.wav", files)
