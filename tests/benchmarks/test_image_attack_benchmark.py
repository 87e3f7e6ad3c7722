"""The image attack benchmark's own code on a tiny tower: files come out, and the answer says what the rows say."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import benchmarks.image_attacks as benchmark
import pytest
import torch
from benchmarks.image_attacks import run
from benchmarks.image_attacks_contenders import Art, Budget, Kivuko, Scores
from benchmarks.image_attacks_measure import counted
from benchmarks.image_attacks_setting import EXTENTS, HARDENED, RADII, UNDEFENDED, Extent, Setting
from benchmarks.image_attacks_table import excesses, ratios, report

from kivuko.encoders.image_tower import SmallImageTower
from kivuko.perturbations.image.goal import CE_SCALE, ImageToText
from kivuko.perturbations.image.pixel_tower import PixelTower

TOWERS = {UNDEFENDED: Path("shipped"), HARDENED: Path("robust")}  # names only: the test makes its own
TINY = Extent("tiny", 3, 2, 1, 2, False, 2, 2, 2, 2)


@dataclass(frozen=True)
class Idle:
    """Stands in for the peer: gives the images back as they are, between two levels."""

    name: str = "art"
    label: str = "Idle"

    def missing(self):
        return None

    def attack(self, part, setting, eps, budget, seed):
        setting.tower.encode(setting.pixels)
        return (setting.pixels + 0.2 / 255).clamp(0, 1)


@pytest.fixture(scope="module")
def setting():
    torch.manual_seed(0)
    tower = PixelTower(SmallImageTower(12, size=32).eval().to_sentence_transformer())
    pixels = torch.randint(256, (3, 3, 32, 32)) / 255
    texts = torch.nn.functional.normalize(tower.encode(pixels) + 0.01 * torch.randn(3, 12), dim=1)
    return Setting(HARDENED, tower, pixels, ImageToText(texts, torch.arange(3)))


@pytest.fixture(scope="module")
def results_folder(tmp_path_factory, setting):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "contenders", lambda: (Kivuko(), Idle()))
        run(TINY, TOWERS, folder, make=lambda name: replace(setting, name=name))
    return folder


def test_every_cell_and_every_round_is_recorded(results_folder):
    results = json.loads((results_folder / "image_attacks.json").read_text(encoding="utf-8"))
    assert results["finished"]
    assert {(row["setting"], row["contender"], row["radius"]) for row in results["strength"]} == {
        (tower, who, radius) for tower in TOWERS for who in ("kivuko", "art") for radius in RADII
    }
    assert len(results["strength"]) == 2 * 2 * len(RADII)
    for row in results["strength"]:
        assert row["clean"] == 1.0
        assert row["rounded"] == row["standing"].count("1") / 3
        assert row["furthest"] <= row["radius"] + 1e-3
        assert row["forward"] >= 3
    assert {(row["contender"], row["part"], row["round"]) for row in results["speed"]} == {
        (who, part, number) for who in ("kivuko", "art") for part in TINY.parts for number in range(2)
    }
    first, second = ([row["contender"] for row in results["speed"] if row["round"] == number][:2] for number in (0, 1))
    assert first == second[::-1]


def test_the_page_gives_the_answer_the_tables_and_no_place(results_folder):
    page = (results_folder / "image_attacks.md").read_text(encoding="utf-8")
    assert page.index("**Strength.**") < page.index("**Speed.**") < page.index("## Strength") < page.index("## Speed")
    assert page.index("## Speed") < page.index("## Protocol")
    assert "not finished" not in page
    assert str(results_folder.parent) not in page


def test_a_finished_run_is_not_measured_again(results_folder, setting, monkeypatch):
    before = json.loads((results_folder / "image_attacks.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(benchmark, "contenders", lambda: (Kivuko(), Idle()))
    monkeypatch.setattr(benchmark, "strength", None)  # calling it would fail
    assert run(TINY, TOWERS, results_folder, resume=True, make=lambda _: setting) == before


def row(contender, rounded, raw, standing="11"):
    return {
        "setting": HARDENED, "contender": contender, "label": contender, "radius": 2, "clean": 1.0, "raw": raw,
        "rounded": rounded, "standing": standing, "seconds": 1.0, "forward": 9, "backward": 3, "others": 0.0,
    }  # fmt: skip


def timed(contender, number, processor, part="square"):
    return {
        "setting": HARDENED, "contender": contender, "label": contender, "part": part, "round": number, "images": 2,
        "tries": 4, "seconds": 3 * processor, "processor": processor, "forward": 6, "backward": 0, "rounded": 1.0,
        "others": 0.9,
    }  # fmt: skip


def test_ours_is_held_against_the_peers_pixels_before_and_after_rounding():
    rows = [row("kivuko", 0.5, 0.5, "01"), row("art", 0.5, 0.25, "10")]
    assert excesses(rows) == {(HARDENED, 2): (0.0, 0.25)}
    page = report({
        "finished": True, "strength": rows, "speed": [], "absent": {}, "date": "2026-01-01", "processes": 2,
        "extent": vars(EXTENTS["quick"]), "machine": benchmark.describe_with_art(),
    })  # fmt: skip
    assert "in **0 of 1** cells" in page
    assert "+25 points at worst for us, +0 at best" in page
    assert "| 1 / 1 |" in page
    assert "seconds with 2 processes at work" in page


def test_a_ratio_is_the_median_of_the_rounds():
    rows = [timed("kivuko", 0, 1.0), timed("kivuko", 1, 1.0), timed("kivuko", 2, 4.0), timed("kivuko", 3, 1.0)]
    rows += [timed("art", 0, 2.0), timed("art", 1, 3.0), timed("art", 2, 4.0)]
    found = ratios(rows, "square")
    assert (found.median, found.least, found.most) == (2.0, 1.0, 3.0)
    assert ratios(rows, "apgd-ce") is None


def test_passes_are_counted_whoever_asks(setting):
    classifier = Scores(setting)
    with counted(setting) as passes:
        classifier(setting.pixels)
        leaf = setting.pixels[:2].clone().requires_grad_()
        classifier(leaf).sum().backward()
    assert (passes.forward, passes.backward) == (5, 2)
    classifier(setting.pixels)
    assert passes.forward == 5


def test_the_peer_sees_the_scores_that_we_attack(setting):
    scores, _ = setting.goal.logits(setting.tower.encode(setting.pixels), torch.arange(3))
    torch.testing.assert_close(Scores(setting)(setting.pixels), CE_SCALE * scores)


def test_the_peer_stays_inside_the_radius_and_clean_images_fall_to_it(setting):
    pytest.importorskip("art")
    found = Art().attack("apgd-ce", setting, 8 / 255, Budget(steps=5, restarts=1, queries=3), seed=0)
    assert (found - setting.pixels).abs().max() <= 8 / 255 + 1e-5
    assert setting.margins(found).mean() < setting.margins(setting.pixels).mean()
