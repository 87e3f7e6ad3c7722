"""Own parts are imported by name, with one line for each thing that can go wrong."""

from __future__ import annotations

import pytest

from kivuko.errors import UsageError
from kivuko.plugins import is_plugin, load_plugin


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    return write


def test_a_class_and_a_nested_attribute_are_found(own):
    own("own_part", "class Hinge:\n    class Inner: pass\n")
    assert load_plugin("own_part:Hinge", "objective").__name__ == "Hinge"
    assert load_plugin("own_part:Hinge.Inner", "objective").__name__ == "Inner"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hinge", "hinge: not the name of an own objective. Write package.module:Class."),
        ("no_such:Hinge", "no_such:Hinge: no module 'no_such' for the objective. Install it, or put"),
        ("own_ok.deeper:Hinge", "own_ok.deeper:Hinge: no module 'own_ok.deeper' for the objective. "),
        ("own_ok:Hing", "own_ok:Hing: module 'own_ok' has no 'Hing' for the objective."),
        ("own_raises:Hinge", "own_raises:Hinge: importing own_raises failed (ZeroDivisionError"),
        ("own_imports:Hinge", "own_imports:Hinge: importing own_imports failed (No module named 'not_installed')."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(own, name, message):
    own("own_ok", "class Hinge: pass")
    own("own_raises", "raise ZeroDivisionError")
    own("own_imports", "import not_installed")
    with pytest.raises(UsageError) as problem:
        load_plugin(name, "objective")
    assert str(problem.value).startswith(message)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    "text", ["optical", "typo:edits=2", "xm3600:data/xm3600", "C:\\files", "a:", ":b", "open_clip:V/b"]
)
def test_specs_are_no_plugin_names(text):
    assert not is_plugin(text)
