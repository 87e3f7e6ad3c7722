"""What tests and examples share: no network, no use of the user's cache, and a folder to run examples in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from gpu import hide_gpu
from once import made_once, shared_folder

# Before any library that reads them is imported: a test must never reach for a model hub, and several test workers
# must not fight over the cores.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

hide_gpu()

# On a developer's machine Hypothesis looks for new counterexamples every time; in continuous integration the examples
# are fixed, so that a change is judged by what it changed.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(autouse=True, scope="session")
def _nothing_of_the_user(tmp_path_factory):
    """Keep Kivuko's cache in a folder of this test run, and ignore the user's own settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIVUKO_CACHE", str(shared_folder(tmp_path_factory) / "kivuko-cache"))
        # Those that are installed would make the demo another on each machine.
        patch.setenv("KIVUKO_DICTIONARIES", str(shared_folder(tmp_path_factory) / "no-dictionaries"))
        # What is installed would choose it; with an encoder a training takes a minute more.
        patch.setenv("KIVUKO_STUDENT", "static")
        for name in ("KIVUKO_CLDR", "KIVUKO_FONT", "XDG_CACHE_HOME"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _image_workers_are_ready():
    """Import what a tower's preparation takes in the fork server of all workers that decode images.

    A process has one fork server, and the first test to start it may ask for less: every worker of a later test would
    import transformers by itself, which takes seconds.
    """
    from kivuko.search import decoding

    start = decoding.start_fork_server
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            decoding, "start_fork_server",
            lambda *modules: start(*modules, "transformers.image_processing_backends", "transformers.models"),
        )  # fmt: skip
        yield


SENTENCES = {
    "a black cat": ("paka mweusi", "bisad madow"),
    "a white dog": ("mbwa mweupe", "eey cad"),
    "a red car": ("gari jekundu", "gaari cas"),
    "a white cat": ("paka mweupe", "bisad cad"),
    "a black dog": ("mbwa mweusi", "eey madow"),
    "a red house": ("nyumba nyekundu", "guri cas"),
    "it is raining": ("mvua inanyesha", "roob baa da'aya"),
    "the child drinks water": ("mtoto anakunywa maji", "ilmuhu biyo ayuu cabbayaa"),
}
PHOTOS = (("cat.png", "black", "paka mweusi"), ("dog.png", "white", "mbwa mweupe"), ("car.png", "red", "gari jekundu"))


def _write_workspace(folder: Path) -> None:
    """Write what the examples of the documentation name: sentences, photos with captions, and a small model."""
    from PIL import Image

    import kivuko

    for place, code in enumerate(("sw", "so")):
        rows = [f"{text[place]}\t{english}" for english, text in SENTENCES.items()]
        (folder / f"{code}.tsv").write_text("\n".join([*rows, ""]), encoding="utf-8")
    (folder / "photos").mkdir()
    for name, color, _ in PHOTOS:
        Image.new("RGB", (64, 64), color).save(folder / "photos" / name)
    captions = ["image\tcaption\tlanguage", *(f"photos/{name}\t{caption}\tsw" for name, _, caption in PHOTOS)]
    (folder / "photos.tsv").write_text("\n".join([*captions, ""]), encoding="utf-8")
    files = {code: folder / f"{code}.tsv" for code in ("sw", "so")}
    kivuko.distill(
        files, folder / "my-model", recipe="contrastive", steps=5, vocabulary_size=300, validation_share=0.3, seed=0,
        progress=False,
    )  # fmt: skip


@pytest.fixture
def few_teacher_words(monkeypatch):
    """Start students from two thousand words of a teacher's vocabulary: to encode all of them takes twenty seconds."""
    monkeypatch.setattr("kivuko.training.initialization._MOST", 2_000)
    monkeypatch.setattr("kivuko.training.initialization._known", {})


@pytest.fixture
def example_folder(tmp_path_factory, monkeypatch, few_teacher_words):
    """Run in a new folder that holds the files that examples name."""
    written, _ = made_once(tmp_path_factory, "example-folder", _write_workspace)
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(written, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def _examples_have_their_files(request):
    """Run every docstring's example in a new folder, so that what it writes is not left in the repository."""
    if isinstance(request.node, pytest.DoctestItem):
        if _names_files(request.node):
            request.getfixturevalue("example_folder")
        else:
            request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))


def _names_files(item: pytest.DoctestItem) -> bool:
    sources = "".join(example.source for example in item.dtest.examples)
    return any(name in sources for name in ("my-model", "photos", ".tsv", ".jsonl"))
