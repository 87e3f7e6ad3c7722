"""Commands in surroundings that are not as usual: code in the current folder, closed streams, limits, signals."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from kivuko.encoders.image_tower import SmallImageTower
from kivuko.encoders.model import About, save_model
from kivuko.encoders.student import StaticStudent
from kivuko.encoders.vocabulary import train_vocabulary

KIVUKO = [sys.executable, "-m", "kivuko"]
INSTALLED = "import sys\nfrom kivuko.__main__ import main\nsys.exit(main())\n"  # the command as pip writes it
# Names of modules that helper processes import: of the standard library, of libraries, and what pickles name.
PLANTED = (
    "torch", "struct", "numpy", "PIL", "random", "socket", "selectors", "signal", "tempfile", "logging", "subprocess",
    "json", "warnings", "threading", "transformers", "sentence_transformers", "pickle", "hashlib", "kivuko",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("surroundings") / "model"
    student = StaticStudent(train_vocabulary(["paka mbwa nyumba", "paka", "mbwa"] * 5, size=60), 12)
    torch.manual_seed(0)
    tower = SmallImageTower(12, size=32).eval().to_sentence_transformer()
    save_model(folder, student, tower, About("t", "t", "static", "optical", 0, {"sw": 3}, run="abc"), "card")
    return folder


@pytest.fixture
def planted(tmp_path):
    """A folder of images and captions that also holds modules, each of which notes that it was imported."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    drawn = np.random.default_rng(0).integers(0, 256, (6, 40, 30, 3), dtype=np.uint8)
    rows = []
    for number, pixels in enumerate(drawn):
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png\tsw\tpaka {number}\n")
    (folder / "captions.tsv").write_text("image\tlanguage\tcaption\n" + "".join(rows))
    for name in PLANTED:
        (folder / f"{name}.py").write_text("open('HIJACKED', 'a').write(__name__ + ' ')\n")
    return folder


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The command as an installation has it, which does not look for modules in the current folder."""
    script = tmp_path_factory.mktemp("bin") / "kivuko"
    script.write_text(INSTALLED)
    return [sys.executable, str(script)]


def run(words, folder, command=KIVUKO, **options):
    return subprocess.run([*command, *map(str, words)], cwd=folder, capture_output=True, text=True, **options)


def test_code_in_the_current_folder_is_not_run(model, planted, installed):
    """By commands that start helper processes, one after another in a process that takes seconds to start."""
    commands = [
        ("index", str(model), ".", "--out", "my.index", "--workers", "2"),
        ("evaluate", str(model), "--dataset", "captions:captions.tsv", "--alone", "--workers", "2"),
        ("doctor", str(model)),
    ]
    program = planted.parent / "program.py"
    program.write_text(f"""
import json
import sys
from kivuko.__main__ import main

if __name__ == "__main__":
    ended = []
    for words in {commands!r}:
        sys.argv[1:] = words
        try:
            main()
            ended.append(0)
        except SystemExit as end:
            ended.append(end.code)
    print(json.dumps(ended))
""")
    done = run([], planted, [installed[0], str(program)], timeout=300)
    assert not (planted / "HIJACKED").exists(), (planted / "HIJACKED").read_text()
    assert "Traceback" not in done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    assert len(ended) == 3
    assert not any(ended[:2]), done.stderr  # an examination may find something


def test_nor_is_it_by_python_m(model, planted):
    for name in set(PLANTED) - {"torch", "struct", "numpy", "transformers"}:  # "python -m" itself imports some
        (planted / f"{name}.py").unlink()
    done = run(["search", model, "paka", "--images", "."], planted, timeout=300)
    assert not (planted / "HIJACKED").exists(), (planted / "HIJACKED").read_text()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["study workers", "image workers"])
def test_helper_processes_of_the_library_start_on_a_safe_path(kind, planted, tmp_path):
    """The parent looks nowhere near the current folder, as under the installed command."""
    program = tmp_path / "program.py"
    if kind == "study workers":
        program.write_text(
            "import os, pathlib\n"
            "from kivuko.processes import starting_processes\n"
            "from concurrent.futures import ProcessPoolExecutor\n"
            "import multiprocessing\n"
            "if __name__ == '__main__':\n"
            "    with starting_processes(KIVUKO_TEST='1'):\n"
            "        pool = ProcessPoolExecutor(1, multiprocessing.get_context('spawn'))\n"
            "        assert pool.submit(os.getenv, 'KIVUKO_TEST').result() == '1'\n"
            "        assert 'KIVUKO_TEST' not in os.environ, 'other threads go through it'\n"
            "    pool.shutdown()\n"
            "    assert 'PYTHONSAFEPATH' not in os.environ and 'KIVUKO_TEST' not in os.environ\n"
        )
    else:
        program.write_text(
            "from kivuko.search.decoding import DecodingWorkers, Limits\n"
            "if __name__ == '__main__':\n"
            "    with DecodingWorkers(dict, 1, Limits(), 2) as workers:\n"
            "        list(workers.answers([('a', b'no image')]))\n"
        )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, str(program)], cwd=planted, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (planted / "HIJACKED").exists(), (planted / "HIJACKED").read_text()


def test_own_attacks_are_still_read_from_the_python_path(model, planted, installed):
    (planted / "own_attacks.py").write_text(
        "class Upper:\n"
        "    def __init__(self, edits: int = 1) -> None: ...\n"
        "    def perturb_texts(self, texts, languages, encode, goal): return [text.upper() for text in texts]\n"
    )
    words = ["attack", model, "--attack", "own_attacks:Upper", "--dataset", "captions:captions.tsv"]
    assert "no module 'own_attacks'" in run(words, planted, installed).stderr
    folder = planted.parent / "mine"
    folder.mkdir()
    (planted / "own_attacks.py").rename(folder / "own_attacks.py")
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    done = run(words, planted, installed, env={**os.environ, "PYTHONPATH": path})
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert not (planted / "HIJACKED").exists()


def one_line(done, text):
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert text in lines[0]


@pytest.mark.parametrize("words", [["--help"], ["bitext", "check", "sw.tsv", "-l", "sw"], ["attack", "--list"]])
def test_a_closed_standard_output_is_one_line(words, tmp_path):
    (tmp_path / "sw.tsv").write_text("Paka analala.\tThe cat sleeps.\n")
    command = " ".join([*KIVUKO, *words, ">&-"])
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    one_line(done, "standard output is closed")


def test_closed_standard_input_and_error_are_replaced(tmp_path):
    command = " ".join([*KIVUKO, "bitext", "check", "-", "-l", "sw"])
    done = subprocess.run(f"{command} <&-", shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    one_line(done, "standard input: is empty")
    done = subprocess.run(
        f"{' '.join(KIVUKO)} --version 2>&-", shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.startswith("kivuko, version")) == (0, True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_standard_output_is_one_line(tmp_path):
    done = subprocess.run(
        f"{' '.join(KIVUKO)} --help > /dev/full", shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    one_line(done, "the disk is full")


@pytest.mark.parametrize("words", [["--version"], ["bitext", "check", "/sw.tsv", "-l", "sw"], ["doctor", "/model"]])
def test_a_removed_current_folder_is_one_line(words, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run(words, gone, preexec_fn=gone.rmdir)
    assert done.returncode == 2
    one_line(done, "the current folder does not exist any more")


def limited():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_limit_on_the_size_of_files_is_one_line(tmp_path, model, planted):
    rows = "".join(f"neno la kwanza {n}\tthe first word {n}\n" for n in range(2000))
    (tmp_path / "sw.tsv").write_text(rows)
    words = ["bitext", "clean", "sw.tsv", "-l", "sw", "--no-language-id", "--out", "clean.tsv"]
    done = run(words, tmp_path, preexec_fn=limited)
    assert done.returncode == 2
    one_line(done, "clean.tsv: larger than files may be here (ulimit -f, or the file system)")
    assert not (tmp_path / "clean.tsv").exists()
    done = run(["index", model, planted, "--out", tmp_path / "my.index"], tmp_path, preexec_fn=limited)
    assert done.returncode == 2
    one_line(done, "my.index")


@pytest.mark.parametrize("delay", [0.1, 0.3, 0.7])
def test_ctrl_c_in_the_first_second_is_one_line(delay, model, tmp_path):
    command = subprocess.Popen(
        [*KIVUKO, "evaluate", str(model)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    # From the first import of Kivuko's own on: before that Python itself starts, and no program can answer for it.
    wait_for_module(command.pid)
    time.sleep(delay)
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=60)
    assert (command.returncode, err.strip()) == (130, "kivuko: interrupted; nothing unfinished was written.")


def test_ctrl_c_inside_an_exec_ends_with_status_130(tmp_path):
    lines = [
        "import sys", "import kivuko.cli.main", "from kivuko.__main__ import main",
        "sys.modules['kivuko.cli.main'].main = lambda: exec('raise KeyboardInterrupt')", "main()",
    ]  # fmt: skip
    (tmp_path / "interrupted.py").write_text("\n".join(lines) + "\n")
    # By its path, since a test before may have left PYTHONSAFEPATH set.
    found = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run([sys.executable, "-m", "interrupted"], env=found, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "kivuko: interrupted; nothing unfinished was written.\n")


def wait_for_module(process):
    """Wait until Python has started: the interpreter's own signal handlers are there."""
    for _ in range(500):
        with open(f"/proc/{process}/status") as status:  # noqa: PTH123
            caught = next(line for line in status if line.startswith("SigCgt")).split()[1]
        if int(caught, 16) & 1 << (signal.SIGINT - 1):
            return
        time.sleep(0.01)
    raise AssertionError("Python did not start")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_hang_up_ends_a_command_as_sigterm_does(sent, model, tmp_path):
    command = subprocess.Popen(
        [*KIVUKO, "bitext", "clean", "-", "-l", "sw", "--no-language-id", "--out", "out.tsv"], cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(sent, signal.SIG_DFL),  # nohup ignores it
    )  # fmt: skip
    assert command.stdin is not None
    command.stdin.write("".join(f"neno la {n}\tword number {n}\n" for n in range(20_000)))
    command.stdin.flush()
    for _ in range(600):
        if list(tmp_path.glob(".out.tsv.*.tmp")):
            break
        time.sleep(0.1)
    command.send_signal(sent)
    _, err = command.communicate(timeout=60)
    assert (command.returncode, err) == (143, "")
    assert list(tmp_path.iterdir()) == []


def test_nohup_is_respected(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); "
         "sys.argv[1:] = ['made']; import click; from kivuko.cli.main import COMMANDS, main; "
         "sys.modules['made'] = type(sys)('made'); "
         "sys.modules['made'].command = click.command()(lambda: os.kill(os.getpid(), signal.SIGHUP)); "
         "COMMANDS['made'] = ('made', ''); main()"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
