"""Files are whole or absent, whatever fails while they are written."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kivuko.errors import CorruptFileError, KivukoError
from kivuko.files import (
    atomic_path,
    cache_folder,
    check_sha256,
    mend,
    refuse_foreign,
    refuse_unwritable,
    sha256_of,
    write_text,
)

ABC_SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def fill(folder, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)


def test_a_file_appears_only_when_the_block_is_done(tmp_path):
    target = tmp_path / "new" / "folder" / "file.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent, "a rename across file systems would not be atomic"
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names_in(target.parent) == ["file.txt"]


def test_a_file_replaces_the_old_one(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names_in(tmp_path) == ["file.txt"]


def test_a_folder_appears_only_when_the_block_is_done(tmp_path):
    target = tmp_path / "world"
    with atomic_path(target) as temporary:
        fill(temporary, a="1", b="2")
        assert not target.exists()
    assert names_in(target) == ["a", "b"]
    assert names_in(tmp_path) == ["world"]


def test_a_folder_replaces_a_full_folder_and_keeps_nothing_of_it(tmp_path):
    target = tmp_path / "world"
    fill(target, old="1")
    with atomic_path(target) as temporary:
        fill(temporary, new="2")
    assert names_in(target) == ["new"]
    assert names_in(tmp_path) == ["world"]


@pytest.mark.parametrize("problem", [RuntimeError("broken"), KeyboardInterrupt()])
def test_a_failed_block_leaves_the_old_file_and_no_other(tmp_path, problem):
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail_halfway():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise problem

    with pytest.raises(type(problem)) as caught:
        fail_halfway()
    assert caught.value is problem
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["file.txt"]


def test_a_failed_block_leaves_the_old_folder_and_no_other(tmp_path):
    target = tmp_path / "world"
    fill(target, old="1")

    def fail_halfway():
        with atomic_path(target) as temporary:
            fill(temporary, half="2")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail_halfway()
    assert names_in(target) == ["old"]
    assert names_in(tmp_path) == ["world"]


def test_a_folder_that_cannot_be_swapped_in_leaves_the_old_one(tmp_path, monkeypatch):
    target, real = tmp_path / "world", Path.rename
    fill(target, old="1")

    def rename(self, to):
        if self.name.endswith(".tmp"):
            raise OSError(errno.EIO, "Input/output error")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output"), atomic_path(target) as temporary:
        fill(temporary, new="2")
    assert names_in(target) == ["old"]
    assert names_in(tmp_path) == ["world"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "no permission"),
    ],
)
@pytest.mark.parametrize("old", ["old", None])
def test_a_write_that_the_system_refuses_names_the_path(tmp_path, monkeypatch, number, words, old):
    target = tmp_path / "file.txt"
    if old:
        target.write_text(old)

    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(KivukoError, match=words) as caught:
        write_text(target, "new")
    assert str(caught.value).startswith(f"{target}: ")
    assert "\n" not in str(caught.value)
    assert names_in(tmp_path) == (["file.txt"] if old else [])
    assert old is None or target.read_text() == old


def test_a_full_disk_reported_by_a_writer_in_rust_is_one_line(tmp_path):
    # safetensors raises its own kind of exception, with the system's words in it.
    with pytest.raises(KivukoError, match="disk is full"), atomic_path(tmp_path / "model"):
        raise RuntimeError('Io(Os { code: 28, kind: StorageFull, message: "No space left on device" })')
    assert names_in(tmp_path) == []


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    target = tmp_path / "taken" / "file.txt"
    with pytest.raises(KivukoError, match="there is a file where a folder is needed") as caught:
        write_text(target, "new")
    assert str(target) in str(caught.value)
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_folder_where_a_file_should_go_is_named_and_a_file_where_a_folder_should(tmp_path):
    fill(tmp_path / "world", old="1")
    with pytest.raises(KivukoError, match="there is a folder where a file is needed"):
        write_text(tmp_path / "world", "new")
    assert names_in(tmp_path / "world") == ["old"]

    (tmp_path / "file").write_text("old")
    with (
        pytest.raises(KivukoError, match="there is a file where a folder is needed"),
        atomic_path(tmp_path / "file") as built,
    ):
        fill(built, new="2")
    assert (tmp_path / "file").read_text() == "old"
    assert names_in(tmp_path) == ["file", "world"]


@pytest.mark.parametrize("write", [refuse_unwritable, lambda path: write_text(path, "new")])
@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_no_file_and_stays_what_it_is(tmp_path, write, linked):
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    with pytest.raises(KivukoError, match="is a device or a pipe") as caught:
        write(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert pipe.is_fifo()
    assert names_in(tmp_path) == (["link", "pipe"] if linked else ["pipe"])


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which no file can be created")
@pytest.mark.parametrize("write", [refuse_unwritable, lambda path: write_text(path, "new")])
@pytest.mark.parametrize("place", ["/proc/new.tsv", "/proc/new/folder/new.tsv"])
def test_a_folder_that_takes_no_files_is_named(write, place):
    with pytest.raises(KivukoError, match=r"(no file can be created|no permission)") as caught:
        write(Path(place))
    assert str(caught.value).startswith(f"{place}: ")


def test_a_missing_input_within_the_block_is_not_taken_for_the_output(tmp_path):
    with pytest.raises(FileNotFoundError, match="input"), atomic_path(tmp_path / "file"):
        (tmp_path / "input").read_text()


def test_a_clear_error_raised_in_the_block_is_not_reworded(tmp_path):
    problem = KivukoError("no space left, says somebody else")
    with pytest.raises(KivukoError) as caught, atomic_path(tmp_path / "file"):
        raise problem
    assert caught.value is problem


def test_a_process_killed_while_writing_leaves_the_old_content(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    script = (
        "import os, signal, sys; from pathlib import Path; from kivuko.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(target)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old"


def test_text_is_utf_8_and_keeps_its_line_ends(tmp_path):
    write_text(tmp_path / "file.txt", "मांजर 🐈\n")
    assert (tmp_path / "file.txt").read_bytes() == "मांजर 🐈\n".encode()


def test_sha256(tmp_path):
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    assert sha256_of(file) == ABC_SHA256
    check_sha256(file, ABC_SHA256, "Do this.")
    file.write_bytes(b"abd")
    with pytest.raises(CorruptFileError, match=r"abc: corrupted .* Do this\."):
        check_sha256(file, ABC_SHA256, "Do this.")
    file.unlink()
    with pytest.raises(CorruptFileError, match=r"abc: missing\. Do this\."):
        check_sha256(file, ABC_SHA256, "Do this.")


def test_the_cache_folder_heeds_the_nearest_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("KIVUKO_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("KIVUKO_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "home" / "mine"
    monkeypatch.setenv("KIVUKO_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "kivuko"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home" / ".cache" / "kivuko"


def dead_process():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


KILLED = """
import os, signal, sys
from pathlib import Path
from kivuko.files import atomic_path
target, moment = Path(sys.argv[1]), sys.argv[2]
if moment == "between":
    rename = Path.rename
    def killed(self, to):
        rename(self, to)
        os.kill(os.getpid(), signal.SIGKILL)
    Path.rename = killed
with atomic_path(target) as temporary:
    temporary.mkdir()
    (temporary / "new").write_text("2")
    if moment == "writing":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("next_one", [mend, lambda path: refuse_foreign(path, "old", "a world")])
@pytest.mark.parametrize("moment", ["writing", "between"])
def test_what_a_killed_process_leaves_is_mended_by_the_next(tmp_path, moment, next_one):
    target = tmp_path / "world"
    fill(target, old="1")
    path = os.pathsep.join(sys.path)
    killed = subprocess.run([sys.executable, "-c", KILLED, target, moment], env={**os.environ, "PYTHONPATH": path})
    assert killed.returncode == -signal.SIGKILL
    assert len(names_in(tmp_path)) == 2
    next_one(target)
    assert names_in(tmp_path) == ["world"]
    assert names_in(target) == ["old"]


def test_the_next_writer_removes_the_temporary_files_of_dead_processes_and_no_others(tmp_path):
    dead, live = dead_process(), os.getppid()
    stays = [f".file.txt.{live}-0123ab.tmp", f".other.txt.{dead}-0123ab.tmp", ".file.txt.backup.tmp",
             f".file.txt.ffff-{dead}-0123ab.tmp", f".file.txt.{dead}-0123ab.bak"]  # fmt: skip
    for name in (*stays, f".file.txt.{dead}-0123ab.tmp", f".file.txt.{os.getpid()}-0123ab.tmp"):
        (tmp_path / name).write_text("half")
    write_text(tmp_path / "file.txt", "whole")
    assert names_in(tmp_path) == sorted([*stays, "file.txt"])


def test_two_writers_of_one_process_leave_each_other_alone(tmp_path):
    target = tmp_path / "file.txt"
    with atomic_path(target) as first:
        first.write_text("1")
        with atomic_path(target) as second:
            second.write_text("2")
        assert first.read_text() == "1"
    assert target.read_text() == "1"


def test_an_interrupt_between_two_renames_leaves_the_old_folder(tmp_path, monkeypatch):
    target, real = tmp_path / "world", Path.rename
    fill(target, old="1")

    def rename(self, to):
        if self.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        fill(temporary, new="2")
    assert names_in(target) == ["old"]
    assert names_in(tmp_path) == ["world"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_modes_follow_the_umask_even_where_a_writer_is_stricter(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "folder") as temporary:
            fill(temporary, a="1")
            (temporary / "a").chmod(0o600)
        with atomic_path(tmp_path / "file") as temporary:
            temporary.touch(0o600)
    finally:
        os.umask(before)
    for place in (tmp_path / "folder" / "a", tmp_path / "file"):
        assert stat.S_IMODE(place.stat().st_mode) == mode


def test_folders_are_flushed_too(tmp_path, monkeypatch):
    flushed, real = [], os.fsync

    def fsync(number):
        flushed.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_path(tmp_path / "folder") as temporary:
        fill(temporary, a="1")
    assert flushed == [str(temporary), str(temporary / "a"), str(tmp_path)]
