"""Languages of sentences by a library, and by words learned from it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from made_source import MadeSource, account_of

from kivuko.bitext.cleaning import Sifting
from kivuko.bitext.language_id import KnownWords, LanguageJudge, missing_library
from kivuko.bitext.rules import Rules
from kivuko.errors import MissingDependencyError

needs_lingua = pytest.mark.skipif(missing_library() is not None, reason="lingua is not installed")

ENGLISH = [
    "The children are playing football in the garden of the school today.",
    "My mother is cooking food for the guests in the kitchen.",
    "We will travel to the city tomorrow to see our grandmother.",
    "The teacher wrote a long letter to the parents of the pupils.",
]
SWAHILI = [
    "Watoto wanacheza mpira wa miguu katika bustani ya shule leo.",
    "Mama yangu anapika chakula cha wageni jikoni.",
    "Tutasafiri kwenda mjini kesho kumwona bibi yetu.",
    "Mwalimu aliandika barua ndefu kwa wazazi wa wanafunzi.",
]
MARATHI = ["मुले आज शाळेच्या बागेत फुटबॉल खेळत आहेत.", "माझी आई स्वयंपाकघरात पाहुण्यांसाठी जेवण बनवत आहे."]
HINDI = ["बच्चे आज स्कूल के बगीचे में फुटबॉल खेल रहे हैं।", "मेरी माँ रसोई में मेहमानों के लिए खाना बना रही है।"]


def left_out(rows: list[tuple[str, str]], language: str, how: str) -> list[int]:
    numbers: list[int] = []
    rules = Rules(language_id=how, min_script_share=0, expected_pairs=1000)  # type: ignore[arg-type]
    account = account_of(
        MadeSource(rows, language), rules, rejected=lambda _, place, *__: numbers.append(int(place.split(":")[1]))
    )
    assert set(account.dropped) <= {"wrong language"}
    return numbers


@needs_lingua
@pytest.mark.parametrize("how", ["full", "fast"])
def test_sides_in_another_language_are_left_out(how: str) -> None:
    rows = [
        (SWAHILI[0], ENGLISH[0]),
        (ENGLISH[1], SWAHILI[1]),  # changed over
        ("Le chat noir dort sur la table de la cuisine.", ENGLISH[2]),
        (SWAHILI[2], "Der Lehrer hat den Eltern einen langen Brief geschrieben."),
        (SWAHILI[3], ENGLISH[3]),
        ("Barack Obama", "Obama, Barack"),  # too short to be judged
    ]
    assert left_out(rows, "sw", how) == [2, 3, 4]


@needs_lingua
def test_neighbors_of_one_script_are_named_apart() -> None:
    rows = [(MARATHI[0], ENGLISH[0]), (HINDI[0], ENGLISH[0]), (MARATHI[1], ENGLISH[1]), (HINDI[1], ENGLISH[1])]
    assert left_out(rows, "mr", "full") == [2, 4]


@needs_lingua
def test_changed_columns_are_counted() -> None:
    rows = list(zip(ENGLISH, SWAHILI, strict=True))
    account = account_of(MadeSource(rows), Rules(expected_pairs=1000))
    assert account.dropped == {"wrong language": 4}
    assert account.swapped == 4


@needs_lingua
def test_a_language_the_library_does_not_know_leaves_the_english_side() -> None:
    account = account_of(MadeSource([("Yara suna wasa a gonar makaranta a yau", ENGLISH[0])], "ha"), Rules())
    assert account.kept == 1
    assert account.notes == ["lingua does not know Hausa: the language of the English side alone was judged"]
    wrong = [("Yara suna wasa a gonar makaranta a yau", SWAHILI[0] + " " + "Der Hund schläft im Garten des Hauses.")]
    german = [(wrong[0][0], "Der Lehrer hat den Eltern einen langen Brief geschrieben.")]
    assert left_out(german, "ha", "full") == [1]


@needs_lingua
def test_only_the_languages_needed_are_loaded() -> None:
    assert LanguageJudge("sw").candidates == ("sw", "en", "fr", "de", "es", "pt", "id")
    assert LanguageJudge("mr").candidates[:3] == ("mr", "en", "hi")
    assert LanguageJudge("th").candidates[:2] == ("th", "en")


@needs_lingua
def test_known_words_spare_the_library() -> None:
    judge, full = LanguageJudge("sw"), LanguageJudge("sw", full=True)
    letters = np.full((4, 2), 50)
    lower = [one.lower() for one in SWAHILI], [one.lower() for one in ENGLISH]
    for _ in range(4):
        assert not judge.judge(*lower, letters).any()
        assert not full.judge(*lower, letters).any()
    assert full.identified == 32
    assert judge.identified == 24, "after three times every word tells"


def test_words_tell_when_seen_often_enough_and_hardly_elsewhere() -> None:
    words = KnownWords(("sw", "en"))
    sentence = "paka mweusi amelala juu"
    for _ in range(2):
        words.learn([sentence, "the cat sleeps on paka"], ["sw", "en"])
    assert not words.recognizes(sentence, "sw"), "twice is not enough"
    words.learn([sentence, "the cat sleeps on paka"], ["sw", "en"])
    assert not words.recognizes(sentence, "sw"), "paka is as often found elsewhere"
    assert words.recognizes("mweusi amelala juu mweusi", "sw")
    assert not words.recognizes("mweusi amelala juu mweusi", "en")
    assert words.recognizes("the cat sleeps on a mat", "en")
    assert not words.recognizes("mweusi amelala juu", "sw"), "three words are not enough"
    assert not words.recognizes("mweusi amelala juu mweusi one two three four five", "sw"), "most words must tell"
    words.learn(["amelala amelala", "amelala", "amelala"], ["other"] * 3)
    assert not words.recognizes("amelala amelala amelala amelala", "sw"), "by now it is found elsewhere"
    words.learn(["habari habari"] * 5, [None] * 5)
    assert not words.recognizes("habari habari habari habari", "sw"), "a sentence of no known language teaches nothing"


def test_without_the_library_the_message_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'kivuko\[data\]'"):
        Sifting(MadeSource([("a", "b")]), Rules(language_id="fast"))
    without = account_of(MadeSource([("nyumba", "house")]), Rules())
    assert without.kept == 1
    assert any("pip install 'kivuko[data]'" in note for note in without.notes)
    assert account_of(MadeSource([("nyumba", "house")]), Rules(language_id="off")).kept == 1
