"""CASIA: ``liuchanhg/angry/201.wav``, four Mandarin speakers, by folders of speaker and emotion (Institute of Automation, Chinese Academy
of Sciences; ChineseLDC CLDC-SPC-2005-010).

The folders are known from others' code. Sentences with texts of their own (``不同文本100``) name speakers and neutral speech otherwise
(``Chang.Liu/normal``): they are the same four people.
"""

import re

from ser_tasks.datasets.corpus import Layout

SPEAKERS = {"chang.liu": "liuchanhg", "zhe.wang": "wangzhe", "quanyin.zhao": "zhaoquanyin", "zuoxiang.zhao": "zhaozuoxiang"}


def _facts(name: re.Match[str], notes: None) -> dict[str, str | None]:
    speaker, label = name["speaker"].lower(), name["label"].lower()
    same_texts = speaker not in SPEAKERS
    label = "neutral" if label == "normal" else label
    return {
        "speaker": SPEAKERS.get(speaker, speaker),
        "label": label,
        "sentence": name["number"] if same_texts else f"{label} {name['number']}",
    }


CASIA = Layout(
    "casia",
    "zh",
    r"(?P<speaker>(?i:liuchanhg|wangzhe|zhaoquanyin|zhaozuoxiang|chang\.liu|zhe\.wang|quanyin\.zhao|zuoxiang\.zhao))/"
    r"(?P<label>(?i:angry|fear|happy|neutral|normal|sad|surprise))/(?P<number>\d+)",
    _facts,
)
