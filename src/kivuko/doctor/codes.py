"""Language codes that have misled published work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kivuko.doctor.finding import Finding, Patient

CHECK = "languages"
_QUECHUA = {"qu": "all of Quechua", "quy": "Ayacucho Quechua", "quz": "Cuzco Quechua"}
_CAPTIONS = {"bn": "one caption per image in Bengali", "mi": "about 1.3 captions per image in Maori"}


def check_codes(patient: Patient, languages: Sequence[str]) -> Iterator[Finding]:
    """Say what is easily mistaken of the languages asked for, and of those of training."""
    meant = list(dict.fromkeys([*languages, *patient.trained]))
    quechua = [code for code in meant if code in _QUECHUA]
    if len(quechua) > 1:
        told = ", ".join(f"{code} is {_QUECHUA[code]}" for code in quechua)
        what = f"{told}: not the same language"
        do = "Train and measure on one of them; Crossmodal-3600 has quz, FLORES and many bitexts have quy."
        yield Finding("warning", CHECK, what, do)
    elif quechua:
        what = f"{quechua[0]} is {_QUECHUA[quechua[0]]}; quy (Ayacucho) and quz (Cuzco) are two languages"
        yield Finding("note", CHECK, what, "Check which one your data is in: Crossmodal-3600 has quz.", quechua[0])
    for code in meant:
        if code in _CAPTIONS:
            what = f"Crossmodal-3600 has {_CAPTIONS[code]}, two and more in most others"
            do = "Say whether queries are first captions or all captions; the figures differ."
            yield Finding("note", CHECK, what, do, code)
