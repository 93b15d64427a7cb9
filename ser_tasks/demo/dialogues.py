"""The plots of the demo calls: who speaks when, and in which mood. Calls, names and numbers are fictional.

A line is (role, mood, gap in seconds before it): a recorded sentence that the call's voice speaks in that mood. With a negative gap, a line
starts before the previous one has ended. ``make_calls.py`` chooses the sentences.
"""

from dataclasses import dataclass, field

A, C = "agent", "customer"
Line = tuple[str, str, float]


@dataclass(frozen=True)
class Call:
    """One call: its metadata, the voices (speakers of EMO-DB), the file suffix and the lines."""

    call_id: str
    started_at: str
    agent_id: str
    customer_id: str
    queue: str
    suffix: str
    customer_voice: str
    lines: list[Line] = field(repr=False)
    agent_voice: str
    notice_given: bool = True
    language: str = "de-DE"


def plot(text: str) -> list[Line]:
    """The lines of a text such as ``A C C:anger 0.1 A``: who speaks, the mood if not neutral, and the gap if not 0.6 s."""
    lines: list[Line] = []
    for word in text.split():
        if word[0] in "AC":
            who, _, mood = word.partition(":")
            lines.append(({"A": A, "C": C}[who], mood or "neutral", 0.6))
        else:
            role, mood, _ = lines.pop()
            lines.append((role, mood, float(word)))
    return lines


CALLS = [
    Call("billing-1001", "2026-11-18T09:04:12+01:00", "maren", "40117", "billing", ".opus", "emodb_15",
         plot("A C A C A 1.8 C C A C A C A C:happiness A C"), "emodb_08"),
    Call("deliveries-1002", "2026-11-18T10:31:45+01:00", "tomas", "51820", "deliveries", ".mp3", "emodb_16",
         plot("A C C A C A C A C:anger 0.2 A C:anger 0.1 C:anger 0.3 A C:anger 0.1 C:anger 0.2"), "emodb_03"),
    Call("technical-1003", "2026-11-18T13:15:02+01:00", "ines", "60233", "technical", ".ogg", "emodb_08",
         plot("A C:sadness 0.9 A C:sadness 1.0 A C A C A C C 3.5 A C A C:happiness C:happiness 0.3 A"), "emodb_14"),
    Call("billing-1004", "2026-11-18T16:48:30+01:00", "maren", "40388", "billing", ".flac", "emodb_12",
         plot("A C A C A 1.2 A C A C A"), "emodb_08"),
    Call("technical-1005", "2026-11-19T08:22:10+01:00", "jonas", "60417", "technical", ".ogg", "emodb_03",
         plot("A C C A C A A 21.0 C A C C A C"), "emodb_15"),
    Call("deliveries-1006", "2026-11-19T11:05:55+01:00", "tomas", "51977", "deliveries", ".wav", "emodb_09",
         plot("A C:anger A C:anger -1.1 A -0.7 C:anger -1.1 A 0.7 C 0.9 C A C C A C A C"), "emodb_03"),
    Call("billing-1007", "2026-11-19T14:40:00+01:00", "petra", "40702", "billing", ".mp3", "emodb_10",
         plot("A C:anger C:anger 0.2 A C A C 1.5 A C A C A"), "emodb_16"),
    Call("technical-1008", "2026-11-19T18:20:37+01:00", "ines", "60555", "technical", ".ogg", "emodb_03",
         plot("A A 3.0 A 4.0 A 5.0 A 4.0"), "emodb_14"),
    Call("deliveries-1009", "2026-11-20T08:55:18+01:00", "lena", "52044", "deliveries", ".m4a", "emodb_12",
         plot("A C A C A 1.0 A C A C C:happiness A"), "emodb_10", notice_given=False),
    Call("technical-1010", "2026-11-20T10:12:49+01:00", "jonas", "60611", "technical", ".ogg", "emodb_14",
         plot("A C:anxiety C:anxiety 0.4 A C:anxiety 0.5 A 2.5 C A C C A C C:sadness 0.8 A C"), "emodb_15"),
    Call("billing-1011", "2026-11-20T13:37:21+01:00", "petra", "40955", "billing", ".mp3", "emodb_11",
         plot("A C C A 0.9 C C A C C A C:anger 0.1 A C:anger 0.1 C:anger 0.3 A C:anger 0.1"), "emodb_16"),
    Call("deliveries-1012", "2026-11-20T17:02:08+01:00", "lena", "52190", "deliveries", ".ogg", "emodb_13",
         plot("A C:anger 0.4 A C:anger 0.3 A C C A C A C C A C C:happiness A C:happiness"), "emodb_10"),
]  # fmt: skip
