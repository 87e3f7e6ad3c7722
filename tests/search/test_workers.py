"""Worker processes answer in order; one that is killed or hangs costs at most the image it was at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_encoder import prepare

from kivuko.errors import KivukoError
from kivuko.search.decoding import Decoded, DecodingWorkers, Limits, Refused
from kivuko.search.items import FilePlace


def deadly(image):
    """Stand in for a decoder that crashes on some images and hangs on others."""
    if image.width == 66:
        os.kill(os.getpid(), signal.SIGKILL)
    if image.width == 67:
        time.sleep(600)
    return prepare(image)


def picky(image):
    """Stand in for a tower that cannot use some images."""
    if image.width == 61:
        raise ValueError("not this one")
    return prepare(image)


def niceness(image):
    """Say how far the process gives way."""
    return {"nice": np.array([[os.nice(0)]])}


def always_deadly(image):
    os._exit(1)


def questions(folder, numbers):
    return [(number, FilePlace(str(folder / f"{number:04}.png"))) for number in numbers]


@pytest.fixture
def photos(tmp_path):
    from tiny_encoder import image

    for number in range(30):
        image(number, (60 + number, 10)).save(tmp_path / f"{number:04}.png")
    return tmp_path


def test_answers_come_in_the_order_of_the_questions(photos):
    requests = questions(photos, range(30))
    requests.insert(4, ("passed through", None))
    with DecodingWorkers(prepare, 3, Limits(), window=5) as workers:
        answers = list(workers.answers(requests))
    assert [tag for tag, _ in answers] == [tag for tag, _ in requests]
    assert [answer.width for _, answer in answers if answer] == list(range(60, 90))


def test_no_more_than_the_window_is_decoded_ahead(photos):
    requests = []

    def watched():
        for question in questions(photos, range(30)):
            requests.append(question)
            yield question

    with DecodingWorkers(prepare, 1, Limits(), window=4) as workers:
        answers = workers.answers(watched())
        for taken in range(10):
            next(answers)
            assert len(requests) <= taken + 1 + 4


def test_a_crash_and_a_hang_cost_only_their_images(photos):
    with DecodingWorkers(deadly, 2, Limits(seconds=5.0), window=8) as workers:
        answers = dict(workers.answers(questions(photos, range(30))))
    assert answers[6].reason == "decoder crashed"
    assert answers[7].reason == "took too long"
    assert all(isinstance(answers[number], Decoded) for number in answers if number not in (6, 7))


def test_a_worker_killed_from_outside_costs_nothing(photos):
    with DecodingWorkers(prepare, 2, Limits(), window=3) as workers:
        answers = []
        for number, answer in workers.answers(questions(photos, range(30))):
            answers.append(answer)
            if number in (5, 12):
                os.kill(workers._workers[0].process.pid, signal.SIGKILL)
    assert len(answers) == 30
    assert not any(isinstance(answer, Refused) for answer in answers)


def test_workers_that_always_die_end_the_run_in_one_line(photos, monkeypatch):
    monkeypatch.setattr("kivuko.search.decoding._DEATHS_IN_A_ROW", 3)
    with (
        DecodingWorkers(always_deadly, 1, Limits(), window=8) as workers,
        pytest.raises(KivukoError, match="--workers"),
    ):
        list(workers.answers(questions(photos, range(30))))


def test_bytes_go_to_the_workers_too(photos):
    requests = [(number, (photos / f"{number:04}.png").read_bytes() + b"\0" * 300_000) for number in range(20)]
    with DecodingWorkers(prepare, 2, Limits(), window=8) as workers:
        assert [answer.width for _, answer in workers.answers(requests)] == list(range(60, 80))


def test_what_the_tower_cannot_use_is_refused(photos):
    with DecodingWorkers(picky, 1, Limits(), window=4) as workers:
        answers = dict(workers.answers(questions(photos, range(3))))
    assert answers[1] == Refused("cannot be prepared", "ValueError: not this one")
    assert isinstance(answers[2], Decoded)


def test_decoding_gives_way_to_the_process_that_encodes(photos):
    with DecodingWorkers(niceness, 1, Limits(), window=4) as workers:
        answers = dict(workers.answers(questions(photos, range(1))))
    assert answers[0].tensors["nice"].item() == min(19, os.nice(0) + 10)


def test_what_is_asked_while_workers_are_idle_is_handed_out_at_once(photos):
    def now_and_then():
        for question in questions(photos, range(6)):
            yield question
            time.sleep(0.05)  # the workers have nothing left, and the thread that feeds them sleeps

    with DecodingWorkers(prepare, 2, Limits(), window=2) as workers:
        wait = workers._ready.wait

        def woken(seconds):
            answers = wait(20.0)
            assert answers or not workers._waiting, "a request waits, and nobody woke the thread that hands out"
            return answers

        workers._ready.wait = woken
        assert len(list(workers.answers(now_and_then()))) == 6


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux tells")  # noqa: PTH110
def test_the_fork_server_does_not_hear_ctrl_c_while_it_imports():
    from multiprocessing import forkserver

    from kivuko.search.decoding import start_fork_server

    start_fork_server()
    with open(f"/proc/{forkserver._forkserver._forkserver_pid}/status") as status:  # noqa: PTH123
        (blocked,) = [line.split()[1] for line in status if line.startswith("SigBlk")]
    assert int(blocked, 16) & 1 << signal.SIGINT - 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_script_without_a_guard_runs_once(photos, tmp_path):
    script = tmp_path / "index_photos.py"
    script.write_text(
        "print('started', flush=True)\n"
        "from kivuko.search.decoding import DecodingWorkers, Limits, raw_pixels\n"
        "from kivuko.search.items import FilePlace\n"
        f"with DecodingWorkers(raw_pixels, 2, Limits(), window=4) as workers:\n"
        f"    answers = list(workers.answers([(1, FilePlace({str(photos / '0001.png')!r}))]))\n"
        "print(type(answers[0][1]).__name__)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["started", "Decoded"], done.stderr
