"""Attacks as text: read, refused, written again, swept."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kivuko.errors import UsageError
from kivuko.perturbations.catalog import ATTACKS, CODE_POINTS, CODE_SWITCH, Choice, Flag, Number, Whole
from kivuko.perturbations.edits import EDIT_GROUPS, EDIT_KINDS
from kivuko.perturbations.spec import AttackSpec, parse_attack, parse_attacks


@pytest.mark.parametrize(
    ("text", "label", "budget", "canonical"),
    [
        ("pgd:eps=2/255,steps=20", "pgd:steps=20", 2 / 255, "pgd:eps=2/255,steps=20"),
        ("pgd: steps=10, eps=4/510", "pgd:steps=10", 2 / 255, "pgd:eps=2/255,steps=10"),
        ("typo:edits=2", "typo", 2.0, "typo:edits=2"),
        ("typo", "typo", 1.0, "typo:edits=1"),
        ("gaussian-noise:severity=3", "gaussian-noise", 3.0, "gaussian-noise:severity=3"),
        ("square:eps=2/255", "square:queries=1000", 2 / 255, "square:eps=2/255,queries=1000"),
        (
            "sga:eps=2/255,edits=2",
            "sga:edits=2,steps=10,candidates=32,kinds=typo",
            2 / 255,
            "sga:eps=2/255,edits=2,steps=10,candidates=32,kinds=typo",
        ),
        (
            "sep:eps=2/255,steps=3",
            "sep-attack:edits=1,steps=3,candidates=32,kinds=typo",
            2 / 255,
            "sep-attack:eps=2/255,edits=1,steps=3,candidates=32,kinds=typo",
        ),
        ("hotflip", "hotflip:candidates=16", 1.0, "hotflip:edits=1,candidates=16"),
        ("standard:eps=0", "standard:steps=100,queries=1000", 0.0, "standard:eps=0,steps=100,queries=1000"),
        ("universal:eps=0", "universal:epochs=10", 0.0, "universal:eps=0,epochs=10"),
        ("pgd:eps=1.5,norm=l2", "pgd:norm=l2,steps=10", 1.5, "pgd:eps=1.5,norm=l2,steps=10"),
        ("fgsm:eps=0.5/255", "fgsm", 0.5 / 255, "fgsm:eps=0.5/255"),
        ("fgsm:eps=0", "fgsm", 0.0, "fgsm:eps=0"),
        ("fgsm:eps=1e-02", "fgsm", 0.01, "fgsm:eps=0.01"),
        (f"fgsm:eps={2 / 255!r}", "fgsm", 2 / 255, "fgsm:eps=2/255"),
        (f"fgsm:eps={1e-9 / 3:.40f}", "fgsm", float(f"{1e-9 / 3:.40f}"), f"fgsm:eps={1e-9 / 3:.40f}".rstrip("0")),
        (
            "greedy:kinds=typo+case+typo",
            "greedy:candidates=64,kinds=typo+case",
            1.0,
            "greedy:edits=1,candidates=64,kinds=typo+case",
        ),
        (
            "apgd:eps=4/255,norm=linf,loss=dlr,targeted=true",
            "apgd:steps=100,loss=dlr,targeted=true",
            4 / 255,
            "apgd:eps=4/255,steps=100,loss=dlr,targeted=true",
        ),
    ],
)
def test_an_attack_and_its_names(text, label, budget, canonical):
    spec = parse_attack(text)
    assert (spec.label, spec.budget, spec.text) == (label, budget, canonical)
    assert parse_attack(canonical) == spec


def values_of(parameter):
    """Draw values that a parameter takes."""
    if isinstance(parameter, Number):
        ratio = st.fractions(0, 1, max_denominator=10**9)
        return st.one_of(ratio, st.integers(0, 2550).map(lambda tenths: Fraction(tenths, 2550)))
    if isinstance(parameter, Whole):
        return st.integers(parameter.low, parameter.high)
    if isinstance(parameter, Flag):
        return st.booleans()
    assert isinstance(parameter, Choice)
    if not parameter.several:
        return st.sampled_from(parameter.choices)
    return st.lists(st.sampled_from(parameter.choices), min_size=1, max_size=3, unique=True).map("+".join)


@given(st.data())
def test_the_canonical_text_is_read_as_the_same_attack(data):
    attack = ATTACKS[data.draw(st.sampled_from(sorted(ATTACKS)))]
    spec = AttackSpec(attack, tuple(data.draw(values_of(parameter)) for parameter in attack.parameters))
    again = parse_attack(spec.text)
    assert again == spec
    assert again.text == spec.text
    assert again.label == spec.label
    if spec.label != attack.name:  # a label that tells more is an attack too, at the usual budget
        assert parse_attack(spec.label).label == spec.label


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text):
    for written in (text, f"pgd:{text}", f"pgd:eps={text}", f"typo:edits={text}"):
        try:
            found = parse_attacks([written])
        except UsageError:
            continue
        assert found
        assert all(parse_attack(spec.text) == spec for spec in found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pdg:eps=2/255", "did you mean 'pgd'"),
        ("Typo:edits=2", "did you mean 'typo'"),
        ("qqq", "kivuko attack --list"),
        ("", "kivuko attack --list"),
        ("pgd:esp=2/255", "did you mean 'eps'"),
        ("blur:edits=1", "it has severity"),
        ("typo:severity=2", "it has edits"),
        ("pgd:eps=1.01", "from 0 to 1"),
        ("pgd:eps=2", "from 0 to 1"),
        ("pgd:eps=-1/255", "out of range"),
        ("pgd:eps=nan", "no number"),
        ("pgd:eps=inf", "no number"),
        ("pgd:eps=2/0", "divides by zero"),
        ("pgd:eps=1/2/255", "no number"),
        ("pgd:eps=1e-999999999", "no number"),
        ("pgd:eps=२/255", "no number"),
        ("pgd:eps=1e9999", "no number"),
        ("p\ng\td" + "x" * 500, "unknown attack 'p\\ng\\tdxxx"),
        ("pgd:eps=1001,norm=l2", "out of range"),
        ("pgd:eps=2/255,norm=l3", "one of linf, l2"),
        ("pgd:steps=0", "from 1 to"),
        ("pgd:steps=9999999999999999999999", "no whole number"),
        ("typo:edits=-1", "from 0 to"),
        ("typo:edits=1.5", "no whole number"),
        ("typo:edits=", "parameter=value"),
        ("typo:edits", "typo:edits=1"),
        ("typo:", "parameter=value"),
        ("typo:edits=1,", "parameter=value"),
        ("typo:edits=1,edits=2", "given twice"),
        ("typo:edits=1||2", "no whole number"),
        ("jpeg:severity=6", "from 0 to 5"),
        ("apgd:targeted=yes", "true or false"),
        ("greedy:kinds=typo+nonsense", "kinds"),
        ("sga:edits=0|1|2,steps=" + "|".join(map(str, range(1, 500))), "1,497 attacks"),
    ],
)
def test_what_cannot_be_read_is_refused(text, told):
    with pytest.raises(UsageError) as problem:
        parse_attacks([text])
    assert told in str(problem.value)
    assert "\n" not in str(problem.value)
    assert len(str(problem.value)) < 300


def test_a_sweep_stands_for_several_attacks():
    found = parse_attacks(["typo:edits=0|1|2", "pgd:eps=1/255|2/255,steps=5|7", "typo:edits=1"])
    assert [spec.text for spec in found] == [
        "typo:edits=0", "typo:edits=1", "typo:edits=2",
        "pgd:eps=1/255,steps=5", "pgd:eps=1/255,steps=7", "pgd:eps=2/255,steps=5", "pgd:eps=2/255,steps=7",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="3 attacks"):
        parse_attack("typo:edits=0|1|2")


def test_a_value_can_be_exchanged():
    spec = parse_attack("pgd:eps=2/255").with_value("crafted", "english")
    assert (spec["crafted"], spec.label) == ("english", "pgd:steps=10,crafted=english")
    assert spec.get("severity", 0) == 0


def test_the_catalog_holds_every_edit_and_every_corruption_and_loss():
    from kivuko.perturbations.image.corruptions import CORRUPTIONS
    from kivuko.perturbations.image.goal import LOSSES

    noise = {kind: {a.name for a in ATTACKS.values() if a.kind == kind and a.needs == "nothing"} for kind in
             ("text", "image")}  # fmt: skip
    assert noise["text"] == {*EDIT_GROUPS, *EDIT_KINDS, CODE_SWITCH, CODE_POINTS}
    assert noise["image"] == set(CORRUPTIONS)
    assert set(ATTACKS["apgd"].parameter("loss").choices) == set(LOSSES)
    assert all(attack.parameters[0].name == attack.budget for attack in ATTACKS.values())


def test_reading_attacks_does_not_import_torch():
    code = "import sys, kivuko.perturbations.spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
