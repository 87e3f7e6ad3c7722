"""What every test may use: two emoji worlds, one tiny and one real."""

from __future__ import annotations

from html import escape
from pathlib import Path

import pytest
from filelock import FileLock

from once import shared_folder

# Emoji -> English name, keywords, Swahili name (None: no name), Marathi name (None: no name).
WRITTEN_BY_PEOPLE = {
    "🏻": ("light skin tone", "skin tone|type 1–2", "ngozi nyeupe", None),
    "#": ("hash sign", "hash|pound", "alama ya reli", None),
    "∑": ("n-ary summation", "sum", None, None),
    "🐈🐟": ("cat and fish", "", None, None),
    "😀": ("grinning face", "face|grin|grinning face", "uso unaotabasamu", "हसरा चेहरा"),
    "😂": ("face with tears of joy", "face|joy|laugh|tear", "uso wenye machozi ya furaha", "आनंदाश्रूंचा चेहरा"),
    "❤️": ("red heart", "heart|red heart", "moyo mwekundu", "लाल हृदय"),
    "🐈": ("cat", "cat|pet", "paka", "मांजर"),
    "🐕": ("dog", "dog|pet", "mbwa", "कुत्रा"),
    "🐟": ("fish", "fish|Pisces", "samaki", "मासा"),
    "🐦": ("bird", "bird", "ndege", "पक्षी"),
    "🍎": ("red apple", "apple|fruit|red", "tufaha jekundu", "लाल सफरचंद"),
    "🍌": ("banana", "banana|fruit", "ndizi", "केळे"),
    "🍞": ("bread", "bread|loaf", "mkate", "पाव"),
    "🚒": ("fire engine", "engine|fire|truck", "gari la zimamoto", "अग्निशामक गाडी"),
    "🚗": ("automobile", "automobile|car", "gari", "मोटारगाडी"),
    "🚲": ("bicycle", "bicycle|bike", "baiskeli", "सायकल"),
    "⛵": ("sailboat", "boat|sea|yacht", "mashua", "नाव"),
    "🏠": ("house", "home|house", "nyumba", "घर"),
    "🌳": ("deciduous tree", "deciduous|tree", "mti", "झाड"),
    "🌙": ("crescent moon", "crescent|moon", "mwezi mwandamo", "चंद्रकोर"),
    "☀️": ("sun", "bright|rays|sun", "jua", "सूर्य"),
    "⭐": ("star", "star", "nyota", "तारा"),
    "🔥": ("fire", "fire|flame|tool", "moto", "आग"),
    "💧": ("droplet", "cold|drop", "tone", "थेंब"),
    "📖": ("open book", "book|open", "kitabu kilichofunguliwa", "उघडे पुस्तक"),
    "🔑": ("key", "key|lock", "ufunguo", "किल्ली"),
    "🔔": ("bell", "bell", None, "घंटा"),
    "🎈": ("balloon", "balloon|party", "puto", "फुगा"),
    "🎁": ("wrapped gift", "box|gift", "↑↑↑", "भेटवस्तू"),
    "⚽": ("soccer ball", "ball|soccer", "Soccer  Ball", "फुटबॉल"),
    "🤷": ("person shrugging", "doubt|shrug", "mtu anayeinua mabega", "खांदे उडवणारी व्यक्ती"),
    "👪": ("family", "family", "familia", "कुटुंब"),
    "👮": ("police officer", "cop|police", "afisa wa polisi", "पोलीस अधिकारी"),
    "🏃": ("person running", "dancing|marathon|running", "mtu anayekimbia", "धावणारी व्यक्ती"),
    "💃": ("woman dancing", "dancing|woman", "mwanamke anayecheza", "नाचणारी स्त्री"),
    "🕺": ("man dancing", "dance|man", "mwanamume anayecheza", "नाचणारा पुरुष"),
}
DERIVED = {
    "🤷🏻": ("person shrugging: light skin tone", "doubt", "mtu anayeinua mabega: ngozi nyeupe", None),
    "🤷‍♂️": ("man shrugging", "man|shrug", "mwanamume anayeinua mabega", "खांदे उडवणारा पुरुष"),
    "🤷‍♀️": ("woman shrugging", "shrug|woman", "mwanamke anayeinua mabega", "खांदे उडवणारी स्त्री"),
    "🧑‍🚒": ("firefighter", "firefighter|firetruck", "mzimamoto", "अग्निशामक"),
    "👨‍🚒": ("man firefighter", "firefighter|man", "mzimamoto mwanamume", "पुरुष अग्निशामक"),
    "👩‍🚒": ("woman firefighter", "firefighter|woman", "mzimamoto mwanamke", "स्त्री अग्निशामक"),
    "👨‍👩‍👦": ("family: man, woman, boy", "boy|family|man|woman", "familia: baba, mama, mvulana", None),
    "🇰🇪": ("flag: Kenya", "flag", "bendera: Kenya", "ध्वज: केनिया"),
    "🇳🇴": ("flag: Norway", "flag", "bendera: Norwe", "ध्वज: नॉर्वे"),
    "🇧🇻": ("flag: Bouvet Island", "flag", "bendera: Norwe", "ध्वज: बोउवेट बेट"),
}
TINY_TEST_CONCEPTS, TINY_VALIDATION_CONCEPTS = 8, 6


def write_annotations(file: Path, rows: list[tuple[str, str | None, str]]) -> None:
    """Write one CLDR annotation file; a row is (emoji, name or None, keywords separated by |)."""
    lines = ['<?xml version="1.0" encoding="UTF-8" ?>', "<ldml>", "\t<annotations>"]
    for emoji, name, keywords in rows:
        if keywords:
            lines.append(f'\t\t<annotation cp="{emoji}">{escape(keywords.replace("|", " | "))}</annotation>')
        if name is not None:
            lines.append(f'\t\t<annotation cp="{emoji}" type="tts">{escape(name)}</annotation>')
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*lines, "\t</annotations>", "</ldml>", ""]), encoding="utf-8")


def write_tiny_cldr(folder: Path) -> Path:
    """Write annotations in English, Swahili and Marathi for a few dozen emoji, in CLDR's layout."""
    for part, table in (("annotations", WRITTEN_BY_PEOPLE), ("annotationsDerived", DERIVED)):
        english = [(emoji, name, keywords) for emoji, (name, keywords, _, _) in table.items()]
        write_annotations(folder / part / "en.xml", english)
        swahili = [(emoji, sw, "neno|jingine") for emoji, (_, _, sw, _) in table.items() if emoji != "∑"]
        write_annotations(folder / part / "sw.xml", swahili)
        marathi = [(emoji, mr, "") for emoji, (_, _, _, mr) in table.items() if mr is not None]
        write_annotations(folder / part / "mr.xml", marathi)
    return folder


@pytest.fixture(scope="session")
def tiny_cldr(tmp_path_factory) -> Path:
    """A CLDR folder with three languages; read only."""
    return write_tiny_cldr(tmp_path_factory.mktemp("cldr"))


@pytest.fixture
def own_cldr(tmp_path) -> Path:
    """A CLDR folder of one test's own, to be broken or changed."""
    return write_tiny_cldr(tmp_path / "cldr")


@pytest.fixture
def few_test_concepts(monkeypatch):
    """Let a few dozen emoji fill all three splits."""
    monkeypatch.setattr("kivuko.datasets.emoji.world.TEST_CONCEPTS", TINY_TEST_CONCEPTS)
    monkeypatch.setattr("kivuko.datasets.emoji.world.VALIDATION_CONCEPTS", TINY_VALIDATION_CONCEPTS)


@pytest.fixture(scope="session")
def tiny_world(tiny_cldr, tmp_path_factory):
    """The emoji world over the tiny CLDR folder, with the real font."""
    from kivuko.datasets.emoji.world import emoji_world

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kivuko.datasets.emoji.world.TEST_CONCEPTS", TINY_TEST_CONCEPTS)
        patch.setattr("kivuko.datasets.emoji.world.VALIDATION_CONCEPTS", TINY_VALIDATION_CONCEPTS)
        return emoji_world(["sw", "mr"], cldr=tiny_cldr, cache=tmp_path_factory.mktemp("tiny-world"))


@pytest.fixture(scope="session")
def real_world(tmp_path_factory):
    """The emoji world as it ships, from the system's CLDR and font (some seconds, once)."""
    from kivuko.datasets.emoji.world import emoji_world

    with FileLock(shared_folder(tmp_path_factory) / "real-world.lock"):
        return emoji_world(["sw", "fil", "mr"])
