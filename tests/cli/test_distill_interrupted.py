"""Distillation when it is stopped, the disk is full, a place cannot be written or a cache is damaged."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest
from command_checks import refused
from safetensors.torch import load_file

import kivuko
from tiny_bert import save_teacher

RECIPE = '[[objective]]\nkind = "mse"\n[schedule]\nsteps = 20\nbatch_size = 8\nvalidate_every = 5\n'

# Run the command in forks of a process, and in each do something after the checkpoint of step 10. Prints the status of
# each. The process has run the command once itself: to import what that takes is most of the time.
DRIVER = """
import json, os, resource, signal, sys
from kivuko.cli.main import main
from kivuko.training import loop

save, statuses, jobs = loop.save_checkpoint, {}, json.loads(sys.argv[1])
sys.argv[1:] = jobs.pop("undisturbed")
try:
    main()
except SystemExit as end:
    assert not end.code
for name, (action, words) in jobs.items():
    child = os.fork()
    if not child:
        def save_and_act(folder, run, at, *rest):
            save(folder, run, at, *rest)
            if at.step == 10:
                exec(action)

        loop.save_checkpoint = save_and_act
        for stream, told in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{name}.{told}", os.O_WRONLY | os.O_CREAT), stream)
        sys.argv[1:] = words
        try:
            main()
        except SystemExit as end:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code or 0)  # at once: Python would go through all that the forks share
    statuses[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(statuses))
"""
ACTIONS = {
    "SIGHUP": "os.kill(os.getpid(), signal.SIGHUP)",
    "Ctrl-C": "os.kill(os.getpid(), signal.SIGINT)",
    "full disk": "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A bitext, a recipe, a tiny teacher, and the model of an undisturbed run; read only."""
    place = tmp_path_factory.mktemp("interrupted")
    save_teacher(place / "teacher", ["the", "cat", "house", *(f"word{n}" for n in range(40))], 24)
    (place / "sw.tsv").write_text("".join(f"neno{n} paka\tword{n} cat\n" for n in range(40)), encoding="utf-8")
    (place / "mine.toml").write_text(RECIPE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIVUKO_CACHE", str(place / "cache"))
        kivuko.distill(
            {"sw": place / "sw.tsv"}, place / "undisturbed", teacher=place / "teacher", image_tower="none",
            recipe=place / "mine.toml", vocabulary_size=300, device="cpu", progress=False,
        )  # fmt: skip
    return place


def words(place, out):
    return [
        "distill", "--bitext", f"sw={place / 'sw.tsv'}", "--teacher", str(place / "teacher"), "--image-tower", "none",
        "--recipe", str(place / "mine.toml"), "--vocabulary-size", "300", "--out", str(out), "--device", "cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def stopped(place, tmp_path_factory):
    """Runs that were stopped in several ways: (folder with a folder for each, the status of each); read only."""
    folder = tmp_path_factory.mktemp("stopped")
    jobs: dict[str, object] = {"undisturbed": words(place, folder / "m")}
    jobs |= {name: (action, words(place, folder / name / "m")) for name, action in ACTIONS.items()}
    environment = {**os.environ, "KIVUKO_CACHE": str(place / "cache"), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(jobs)], capture_output=True, text=True, env=environment, cwd=folder,
        preexec_fn=heed_signals,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def heed_signals():
    """Let signals act as they do by default: a background shell ignores Ctrl-C, and nohup SIGHUP."""
    for one in (signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_DFL)


def weights(model):
    return {name: value.tolist() for name, value in load_file(next(model.glob("text_0*/model.safetensors"))).items()}


def hidden(folder):
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize(("name", "status"), [("SIGHUP", 128 + signal.SIGTERM), ("Ctrl-C", 130), ("full disk", 2)])
def test_the_last_checkpoint_is_kept_and_the_next_run_ends_with_the_same_weights(
    run_here, place, stopped, tmp_path, monkeypatch, name, status
):
    told = (stopped[0] / f"{name}.stderr").read_text("utf-8")
    assert stopped[1][name] == status, told
    assert "Traceback" not in told
    shutil.copytree(stopped[0] / name, tmp_path, dirs_exist_ok=True)
    if status == 2:
        assert "m.training" in told
        assert "ulimit -f" in told
        assert told.count("\n") == 1
    assert not (tmp_path / "m").exists()
    state = json.loads((tmp_path / "m.training" / "checkpoint.json").read_text("utf-8"))
    assert state["progressed"]["step"] == 10
    assert hidden(tmp_path) == hidden(tmp_path / "m.training") == []
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))
    status, _, err = run_here(*words(place, tmp_path / "m"))
    assert status == 0, err
    assert "resuming at step 11" in err
    assert weights(tmp_path / "m") == weights(place / "undisturbed")
    assert not (tmp_path / "m.training").exists()


def test_a_model_that_does_not_fit_on_the_disk_leaves_the_old_one(place, tmp_path):
    shutil.copytree(place / "undisturbed", tmp_path / "m")
    before = {file: file.read_bytes() for file in (tmp_path / "m").rglob("*") if file.is_file()}
    changed = [*words(place, tmp_path / "m"), "--seed", "1"]
    environment = {**os.environ, "KIVUKO_CACHE": str(place / "cache")}

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    failed = subprocess.run(
        [sys.executable, "-m", "kivuko", *changed], capture_output=True, text=True, env=environment, preexec_fn=limit
    )
    assert failed.returncode == 2
    assert "ulimit -f" in failed.stderr
    assert {file: file.read_bytes() for file in (tmp_path / "m").rglob("*") if file.is_file()} == before
    assert hidden(tmp_path) == []


def test_places_that_cannot_be_written_are_refused_before_the_teachers_pass(run_here, place, tmp_path, monkeypatch):
    def never(*_: object) -> None:
        raise AssertionError("the teacher's pass was begun")

    monkeypatch.setattr("kivuko.training.teacher_vectors._encode", never)
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "busy.training").write_text("mine")
    refused(run_here(*words(place, tmp_path / "file" / "m")), "file/m", "there is a file where a folder is needed")
    refused(run_here(*words(place, tmp_path / "busy")), "busy.training", "a folder is needed here")
    refused(run_here(*words(place, "/proc/m")), "/proc/m", "cannot be written here")
    refused(run_here(*words(place, "/dev/null")), "/dev/null", "device")
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "file"))
    refused(run_here(*words(place, tmp_path / "m")), "file/teacher", "there is a file where a folder is needed")
    harden = ["harden", "emoji", "--steps", "1", "--out"]
    refused(run_here(*harden, str(tmp_path / "file" / "h")), "file/h", "there is a file where a folder is needed")
    refused(run_here("data", "emoji", "-l", "sw"), "file/emoji", "there is a file where a folder is needed")
    tower = ["data", "emoji", "-l", "sw", "--train-image-tower", "--out", str(tmp_path / "file" / "t")]
    monkeypatch.delenv("KIVUKO_CACHE")
    refused(run_here(*tower), "file/t", "there is a file where a folder is needed")
    fetch = ["data", "fetch", "xm3600", "--out", str(tmp_path / "file" / "x")]
    refused(run_here(*fetch), "file/x", "there is a file where a folder is needed")
    assert (tmp_path / "file").read_text() == (tmp_path / "busy.training").read_text() == "mine"


DAMAGES = {
    "empty": lambda content: b"", "cut": lambda content: content[:-5], "cut in its head": lambda content: content[:40],
    "binary": lambda content: b"\xff" * 99, "a bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
}  # fmt: skip


def test_damaged_caches_and_checkpoints_are_named(run_here, place, stopped, tmp_path, monkeypatch):
    assert stopped[1]["SIGKILL"] == -signal.SIGKILL
    shutil.copytree(stopped[0] / "SIGKILL", tmp_path, dirs_exist_ok=True)
    folder = tmp_path / "m.training"
    (cached,) = (place / "cache" / "teacher").iterdir()
    copy = tmp_path / "cache" / "teacher" / cached.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(cached.read_bytes())
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "cache"))
    remedies = {copy: "Delete this file"}
    for name in ("checkpoint.json", "step-00000010.safetensors"):
        remedies[folder / name] = f"Delete the folder {folder}"
    for file, remedy in remedies.items():
        whole = file.read_bytes()
        for damage in DAMAGES.values():
            file.write_bytes(damage(whole))
            refused(run_here(*words(place, tmp_path / "m")), str(file), "corrupted", remedy)
        file.write_bytes(whole)
    status, _, err = run_here(*words(place, tmp_path / "m"))
    assert status == 0, err
    assert weights(tmp_path / "m") == weights(place / "undisturbed")


@pytest.mark.parametrize("content", [b"[]", b"{}", b"null", b"[" * 100_000, b'{"check": 1}', "é".encode("latin-1")])
def test_a_checkpoint_that_says_something_else_is_named(run_here, place, tmp_path, monkeypatch, content):
    monkeypatch.setenv("KIVUKO_CACHE", str(place / "cache"))
    (tmp_path / "m.training").mkdir()
    (tmp_path / "m.training" / "checkpoint.json").write_bytes(content)
    refused(run_here(*words(place, tmp_path / "m")), "checkpoint.json", "Delete the folder")
