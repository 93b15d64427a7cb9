"""Sentiment of words: which text has one, whose, and which place is the lowest."""

import pytest

from ser_tasks.transcripts import sentiment
from ser_tasks.transcripts.sentiment import EMPTY, REASONS, columns_of, stated_language
from ser_tasks.transcripts.transcript import Turn

BAD, GOOD, PLAIN = "This is a terrible service, I am furious!", "Thank you, that is wonderful.", "It is on the letter."
GERMAN = "Ich bin sehr wütend, die Rechnung war falsch und niemand hilft mir. Das ist eine Katastrophe, die Firma will nicht zahlen, oder?"


def turns(*texts: str) -> list[Turn]:
    return [Turn(10.0 * number, 10.0 * number + 5, None, text) for number, text in enumerate(texts)]


def found(texts, roles=None, languages=("en-US", None), scored=("customer",)):
    return columns_of(turns(*texts), roles or ["customer"] * len(texts), languages, scored)


def test_the_mean_the_share_and_the_lowest_turn():
    of = found([PLAIN, BAD, GOOD, "Not good."])
    assert of.of_turns[0] == 0 and of.of_turns[1] < -0.7 and of.of_turns[2] > 0.7 and -0.6 < of.of_turns[3] < -0.2
    columns = of.columns
    assert columns["customer_words_sentiment"] == pytest.approx(sum(of.of_turns) / 4)
    assert (columns["customer_words_negative_share"], columns["customer_words_lowest_at_s"]) == (0.5, 10.0)
    assert (columns["words_language"], columns["words_sentiment_reason"]) == ("en-US", None)
    assert found([GOOD, PLAIN]).columns["customer_words_lowest_at_s"] is None


def test_a_turn_is_the_mean_of_its_sentences():
    one, two = sentiment.sentiment(BAD), sentiment.sentiment(GOOD)
    assert sentiment.sentiment(f"{BAD} {GOOD} ?") == pytest.approx((one + two) / 2)
    assert sentiment.sentiment("…?! 12") is None


def test_only_roles_that_may_be_scored_have_one():
    texts, roles = [BAD, GOOD, BAD], ["agent", "customer", "unattributed"]
    of = found(texts, roles)
    assert of.of_turns[0] is None and of.of_turns[2] is None and of.of_turns[1] > 0
    assert {name for name in EMPTY if of.columns[name] is not None} == {"customer_words_sentiment", "customer_words_negative_share"}
    everyone = found(texts, roles, scored=("agent", "customer", "unattributed")).columns
    assert everyone["agent_words_sentiment"] < 0 and everyone["unattributed_words_sentiment"] < 0
    assert found(texts, roles, scored=()).columns["words_sentiment_reason"] == "not_scored"


@pytest.mark.parametrize(
    ("languages", "language", "reason"),
    [
        (("en", None), "en", None),
        (("en_us", "English"), "en_us", None),
        ((None, "EN-GB"), "EN-GB", None),
        (("eng", "en"), "eng", None),
        ((None, None), None, "language_unknown"),
        (("", " "), None, "language_unknown"),
        (("de-DE", None), "de-DE", "language_unsupported"),
        ((None, "Deutsch"), "Deutsch", "language_unsupported"),
        (("es", "fr"), "es", "language_unsupported"),
        (("enm", None), "enm", "language_unsupported"),
        (("en-US", "de"), "en-US", "language_contradicted"),
        (("hello, my card is 4111", None), None, "language_unknown"),
    ],
)
def test_the_language_is_stated_or_there_is_no_sentiment(languages, language, reason):
    assert stated_language(*languages) == (language, reason)
    columns = found([BAD], languages=languages).columns
    assert (columns["words_language"], columns["words_sentiment_reason"]) == (language, reason)
    assert (columns["customer_words_sentiment"] is None) == (reason is not None)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([GERMAN], "not_english"),
        (["Je suis très en colère, la facture est fausse et personne ne me répond depuis deux semaines, c'est une honte."], "not_english"),
        (["ปวดหัวมาก " * 30], "not_english"),
        (["12 34", "..."], "no_words"),
        ([BAD, GERMAN.split(".", maxsplit=1)[0], BAD, PLAIN, GOOD], None),
    ],
)
def test_a_text_that_is_stated_as_english_and_is_not_has_none(texts, reason):
    of = found(texts)
    assert of.columns["words_sentiment_reason"] == reason and (reason is None or reason in REASONS)
    assert reason is None or of.of_turns == (None,) * len(texts)


def test_apostrophes_of_typesetters_negate_too():
    assert sentiment.sentiment("I don’t like it") == sentiment.sentiment("I don't like it") < 0


def test_a_turn_of_any_length_is_read_in_time_that_grows_with_it(monkeypatch):
    pieces = []
    monkeypatch.setattr(sentiment, "_score", lambda: lambda text: pieces.append(text) or 0.0)
    assert sentiment.sentiment("but bad " * 5000) == 0.0
    assert max(len(piece.split()) for piece in pieces) == sentiment.MOST_WORDS and sum(len(piece.split()) for piece in pieces) == 10_000
