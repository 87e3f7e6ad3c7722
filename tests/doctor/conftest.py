"""What the tests of the doctor share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for patients, under any import mode


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """A BERT of width 32 with a vocabulary of a few words; read only."""
    from tiny_bert import save_bert

    return save_bert(tmp_path_factory.mktemp("doctor") / "bert", ["paka", "mbwa", "a", "cat"], 32)


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory):
    """An English encoder that knows the words of ``patients.ENGLISH``."""
    from patients import make_teacher

    return make_teacher(tmp_path_factory.mktemp("doctor") / "teacher")


@pytest.fixture(scope="session")
def healthy_folder(teacher_folder, tmp_path_factory):
    """A model that puts every word of Swahili exactly where the teacher puts its English one; read only."""
    from patients import make_model

    return make_model(tmp_path_factory.mktemp("doctor") / "model", teacher_folder)


@pytest.fixture(scope="session")
def healthy(healthy_folder, teacher_folder):
    """The same, loaded, with its teacher; read only."""
    from patients import opened

    return opened(healthy_folder, teacher_folder)


@pytest.fixture(scope="session")
def healthy_index(healthy_folder, tmp_path_factory):
    """An index made with it, its captions English; read only."""
    from patients import make_index

    return make_index(tmp_path_factory.mktemp("doctor") / "my.index", healthy_folder)
