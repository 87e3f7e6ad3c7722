"""Each kind of edit on texts whose edits can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kivuko.errors import UsageError
from kivuko.perturbations.edits import EDIT_GROUPS, EDIT_KINDS, Edit, apply_edit, edit_kinds
from kivuko.perturbations.graphemes import graphemes


def results(kind, text, language):
    return [apply_edit(text, edit) for edit in EDIT_KINDS[kind].all(text, language)]


@pytest.mark.parametrize(
    ("kind", "text", "language", "expected"),
    [
        ("delete", "paka", "sw", ["aka", "pka", "paa", "pak"]),
        ("delete", "aab", "sw", ["ab", "aa"]),  # the same result once
        ("delete", "किल्ली", "mr", ["ल्ली", "कि"]),  # a whole cluster each
        ("delete", "हो!", "mr", ["!"]),
        ("swap", "aab", "sw", ["aba"]),
        ("swap", "किटली", "mr", ["टकिली", "किलीट"]),
        ("swap", "a👩‍🚒b", "sw", []),
        ("swap", "שלום", "he", ["לשום", "שולם", "שלםו"]),
        ("diacritics", "Père Noël", "fr", ["Pere Noël", "Père Noel"]),
        ("diacritics", "किल्ली", "mr", ["कल्ली", "किलली", "किल्ल"]),  # vowel sign, virama, vowel sign
        ("diacritics", "र्‍या", "mr", ["र\u200dया", "र्\u200dय"]),  # the joiner of Marathi's eyelash ra stays
        ("diacritics", "ɓaƙo łø", "ha", ["baƙo łø", "ɓako łø", "ɓaƙo lø", "ɓaƙo ło"]),
        ("case", "Ab 1ß", "de", ["ab 1ß", "AB 1ß", "Ab 1SS"]),
        ("width", "a!", "sw", ["ａ!", "a！"]),
        ("width", "Ａ ｶﾞア", "ja", ["A ｶﾞア", "Ａ ガア", "Ａ ｶﾞｱ"]),
        ("normalization", "é", "fr", ["e\u0301"]),
        ("normalization", "e\u0301ﬁ", "fr", ["éﬁ", "éfi", "e\u0301fi"]),
        ("join", "paka  mweusi sana", "sw", ["pakamweusi sana", "paka  mweusisana"]),
        ("join", " paka ", "sw", []),
        ("split", "paka", "sw", ["p aka", "pa ka", "pak a"]),
        ("split", "ल्ली!", "mr", []),  # one cluster
        ("drop-word", "paka mweusi sana", "sw", ["mweusi sana", "paka sana", "paka mweusi"]),
        ("drop-word", "paka !", "sw", ["paka"]),  # never the last letters
        ("drop-word", "paka", "sw", []),
        ("swap-words", "paka  mweusi sana", "sw", ["mweusi  paka sana", "paka  sana mweusi"]),
        ("swap-words", "paka paka", "sw", []),
    ],
)
def test_every_edit_of_a_kind(kind, text, language, expected):
    assert results(kind, text, language) == expected


@pytest.mark.parametrize(
    ("text", "language", "letters"),
    [
        ("k", "sw", "abcdefghijlmnoprstuvwyz"),  # Swahili has no q and no x
        ("k", "SW", "abcdefghijlmnoprstuvwyz"),
        ("k", "so", "abcdefghijlmnoqrstuwxy"),  # Somali has no p, v and z
        ("k", "fi", "abcdefghijlmnopqrstuvwxyzäö"),
        ("k", "pt-BR", "abcdefghijlmnopqrstuvwxyzáâãàçéêíóôõú"),
        ("k", "mr", "abcdefghijlmnopqrstuvwxyz"),  # a Latin word in a Marathi text
        ("ב", "he", "אגדהוזחטיכלמנסעפצקרשת"),
        ("3", "sw", "012456789"),
    ],
)
def test_wrong_letters_are_the_languages_own(text, language, letters):
    assert results("substitute", text, language) == list(letters)
    assert {edit.replacement for edit in EDIT_KINDS["insert"].all(text, language)} == {*letters, text}


@pytest.mark.parametrize("text", ["한", "日", "Ꭰ", "٣", "ａ"])
def test_letters_of_a_script_without_an_alphabet_are_near_ones_of_that_script(text):
    wrong = results("substitute", text, "und")
    assert len(wrong) >= 5
    assert all(len(one) == 1 and abs(ord(one) - ord(text.lower())) < 64 for one in wrong if text != "Ꭰ")


@pytest.mark.parametrize(
    ("text", "language", "neighbors"),
    [
        ("s", "sw", "wedazx"),
        ("q", "sw", "wa"),
        ("S", "sw", "WEDAZX"),
        ("z", "en", "asx"),
        ("z", "de", "tugh"),  # QWERTZ
        ("P", "de", "OÜLÖ"),  # not the SS of a ß in capitals
        ("a", "fr", "ézq"),  # AZERTY: under the key of é
        ("ф", "ru", "йцыя"),
        ("s", "ru", "wedazx"),  # a Latin word in a Russian text
        ("ω", "el", "ψβφγ"),
        ("क", "mr", "गदरतस"),
        ("ख", "mr", "घधऱथशष"),  # the shifted level
        ("日", "ja", ""),
    ],
)
def test_keys_beside_a_key(text, language, neighbors):
    found = results("keyboard", text, language)
    assert len(found) == len(set(found))
    assert set(found) == set(neighbors)


def test_a_slip_of_the_finger_hits_a_consonant_or_a_vowel_sign_and_leaves_one_cluster():
    slips = results("keyboard", "कि", "mr")
    assert {"गि", "दि", "की", "कु"} <= set(slips)
    assert all(len(graphemes(slip)) == 1 for slip in slips)


def test_lookalikes_are_of_other_scripts_and_no_styled_letters():
    found = results("confusable", "a", "sw")
    assert "а" in found  # Cyrillic
    assert "𝐚" not in found
    assert "ａ" not in found
    assert results("confusable", "👩‍🚒", "sw") == []


@pytest.mark.parametrize("kind", EDIT_KINDS)
@pytest.mark.parametrize("text", ["", " ", "   ", "\n", "👩‍🚒", "🇰🇪🇳🇴", "1️⃣", "ℹ️", "❤️", "?!"])
def test_what_has_no_letters_is_left_alone(kind, text):
    applies = (kind, text) == ("width", "?!") or (kind, text) == ("normalization", "ℹ️")
    assert bool(EDIT_KINDS[kind].all(text, "sw")) == applies
    assert (EDIT_KINDS[kind].sample(text, "sw", np.random.default_rng(0)) is not None) == applies


@pytest.mark.parametrize(
    ("kind", "text", "forbidden"),
    [
        ("join", "🇰 🇪", "🇰🇪"),  # would make a flag of two letters
        ("join", "ल् ली", "ल्ली"),  # would make a conjunct
        ("delete", "ल्aली", "ल्ली"),
        ("swap", "कल्", "ल्क"),
        ("swap-words", "ab \u0301 c", "\u0301 ab c"),
    ],
)
def test_clusters_beside_an_edit_are_not_joined(kind, text, forbidden):
    assert forbidden not in results(kind, text, "mr")


def test_kinds_and_groups_by_name():
    assert [kind.name for kind in edit_kinds(["swap", "typo"])] == ["swap", "insert", "delete", "substitute"]
    assert {name for names in EDIT_GROUPS.values() for name in names} == set(EDIT_KINDS)
    own = EDIT_KINDS["case"]
    assert edit_kinds([own, "case"]) == (own,)
    with pytest.raises(UsageError, match="'keybord'; did you mean 'keyboard'"):
        edit_kinds(["keybord"])
    with pytest.raises(UsageError, match="known: insert"):
        edit_kinds(["zzz"])
    with pytest.raises(UsageError, match="no kind of edit"):
        edit_kinds([])


def test_every_kind_says_what_it_does():
    for name, kind in EDIT_KINDS.items():
        assert kind.name == name
        assert kind.description


def test_an_edit_replaces_code_points():
    assert apply_edit("किल्ली", Edit("delete", 0, 2, "")) == "ल्ली"
    assert apply_edit("", Edit("insert", 0, 0, "a")) == "a"


@pytest.mark.parametrize("mark", ["\u2019", "'", "\u02bc", "\u02bb", "\u2032"])
def test_an_apostrophe_is_no_letter_whichever_is_written(mark):
    usual, other = "c\u2019hoar mat", f"c{mark}hoar mat"
    for name in ("insert", "delete", "swap", "substitute", "split"):
        expected = {apply_edit(usual, edit).replace("\u2019", mark) for edit in EDIT_KINDS[name].all(usual, "br")}
        assert {apply_edit(other, edit) for edit in EDIT_KINDS[name].all(other, "br")} == expected, name
