"""Misspelled training sentences: what the student reads, and that the teacher reads what is written."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from kivuko.errors import UsageError
from kivuko.training.recipe import Augmentation, load_recipe, parse_recipe

MSE = '[[objective]]\nkind = "mse"\n'


def noisy(run, **entries):
    """The tiny run's recipe with an augmentation."""
    return dataclasses.replace(run.recipe, augmentation=Augmentation(**entries))


def read(run, augmentation, seed=0):
    pairs = run.bitext.pairs
    rows = torch.tensor([run.vectors.sentences[pair.english] for pair in pairs])
    return augmentation.of_batch(pairs, run.student, run.vectors.pooled[rows], seed)


def changed(run, texts):
    return [row for row, pair in enumerate(run.bitext.pairs) if pair.text != texts[row]]


def cosines(run, texts):
    targets = run.vectors.pooled[[run.vectors.sentences[pair.english] for pair in run.bitext.pairs]]
    run.student.eval()
    with torch.no_grad():
        return torch.cosine_similarity(run.student.encode_tokens(texts).pooled, targets)


def test_all_or_a_share_of_the_sentences_are_misspelled(tiny_run):
    count = len(tiny_run.bitext)
    assert len(changed(tiny_run, read(tiny_run, Augmentation(share=1.0)))) == count
    shares = [len(changed(tiny_run, read(tiny_run, Augmentation(share=0.3), seed))) / count for seed in range(40)]
    assert sum(shares) / len(shares) == pytest.approx(0.3, abs=0.06)


def test_the_seed_alone_says_what_is_read(tiny_run):
    torch.manual_seed(1)
    first = read(tiny_run, Augmentation(worst_of=3), seed=5)
    torch.manual_seed(2)
    assert read(tiny_run, Augmentation(worst_of=3), seed=5) == first
    assert read(tiny_run, Augmentation(worst_of=3), seed=6) != first


def test_the_kinds_are_those_of_the_recipe(tiny_run):
    texts = read(tiny_run, Augmentation(kinds=("delete",), share=1.0))
    assert all(
        len(text) == len(pair.text) - 1 for text, pair in zip(texts, tiny_run.bitext.pairs, strict=True)
    )  # one edit, a letter missing
    lengths = {
        len(pair.text) - len(text)
        for seed in range(5)
        for text, pair in zip(
            read(tiny_run, Augmentation(kinds=("delete",), edits=2, share=1.0), seed),
            tiny_run.bitext.pairs,
            strict=True,
        )
    }
    assert lengths == {1, 2}


def test_the_worst_of_several_draws_lies_farther_from_the_teacher(tiny_run):
    once, worst = (cosines(tiny_run, read(tiny_run, Augmentation(share=1.0, worst_of=n))) for n in (1, 8))
    assert worst.mean() < once.mean() - 0.01
    # The first draw is the same in both, so no sentence comes out nearer.
    assert (worst <= once + 1e-6).all()


def test_the_choice_of_the_worst_leaves_the_student_as_it_was(tiny_run):
    tiny_run.student.train()
    read(tiny_run, Augmentation(worst_of=3))
    assert tiny_run.student.training
    assert tiny_run.student.embedding.weight.grad is None


def test_copies_come_after_the_pairs_with_the_same_english(tiny_run):
    bitext, count = tiny_run.bitext, len(tiny_run.bitext)
    found = Augmentation(copies=2).with_copies(bitext, 3)
    assert found.pairs[:count] == bitext.pairs
    assert len(found) == 3 * count
    for copy, pair in zip(found.pairs[count:], bitext.pairs * 2, strict=True):
        assert (copy.language, copy.english) == (pair.language, pair.english)
        assert copy.text != pair.text
    assert found.pairs == Augmentation(copies=2).with_copies(bitext, 3).pairs
    assert Augmentation().with_copies(bitext, 3).pairs == bitext.pairs


def test_training_reads_misspellings_and_does_not_remember_them(tiny_run):
    seen = []

    class Watched(type(tiny_run.student)):
        def encode_tokens(self, texts):
            if self.training:
                seen.extend(texts)
            return super().encode_tokens(texts)

    tiny_run.student.__class__ = Watched
    tiny_run.go(recipe=noisy(tiny_run, share=0.5))
    known = {pair.text for pair in tiny_run.bitext}
    strange = [text for text in seen if text not in known]
    assert 0.3 < len(strange) / len(seen) < 0.7
    assert not tiny_run.student._known_ids


@pytest.mark.parametrize("entries", [{}, {"worst_of": 3, "edits": 2}])
def test_an_interrupted_run_on_misspellings_ends_with_the_same_weights(tiny_run, tmp_path, entries):
    def interrupt(step, *_):
        if step == 10:
            raise KeyboardInterrupt

    recipe = noisy(tiny_run, **entries)
    whole, resumed, clean = (tiny_run.new_student() for _ in range(3))
    tiny_run.go(student=whole, recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        tiny_run.go(student=tiny_run.new_student(), recipe=recipe, checkpoints=tmp_path / "run", report=interrupt)
    tiny_run.go(student=resumed, recipe=recipe, checkpoints=tmp_path / "run")
    assert torch.equal(whole.embedding.weight, resumed.embedding.weight)
    tiny_run.go(student=clean)
    assert not torch.equal(whole.embedding.weight, clean.embedding.weight)


@pytest.mark.parametrize("other", [None, {"share": 0.4}, {"kinds": ("swap",)}, {"worst_of": 2}, {"edits": 3}])
def test_a_checkpoint_of_other_noise_is_refused(tiny_run, tmp_path, other):
    tiny_run.go(student=tiny_run.new_student(), recipe=noisy(tiny_run), checkpoints=tmp_path / "run")
    recipe = tiny_run.recipe if other is None else noisy(tiny_run, **other)
    with pytest.raises(UsageError, match="belongs to another run"):
        tiny_run.go(student=tiny_run.new_student(), recipe=recipe, checkpoints=tmp_path / "run")


def test_a_recipe_says_what_is_misspelled():
    table = '[augmentation]\nkinds = ["swap", "delete"]\nedits = 3\nshare = 1\nworst_of = 4\ncopies = 2'
    found = parse_recipe(MSE + table, "mine", "mine.toml").augmentation
    assert found == Augmentation(("swap", "delete"), 3, 1, 4, 2)
    assert parse_recipe(MSE, "mine", "mine.toml").augmentation is None
    assert parse_recipe(MSE + "[augmentation]", "mine", "mine.toml").augmentation == Augmentation()


@pytest.mark.parametrize("name", ["optical", "contrastive"])
def test_the_robust_recipes_differ_from_theirs_in_noise_and_neighbors_alone(name):
    plain, robust = load_recipe(name), load_recipe(f"{name}-robust")
    assert robust.augmentation is not None
    assert (robust.terms, robust.schedule) == (plain.terms, plain.schedule)
    assert robust.start == dataclasses.replace(plain.start, neighbors=True)
    assert load_recipe("optical-robust").augmentation == load_recipe("contrastive-robust").augmentation


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("share = 0", "[augmentation] share = 0 is not a number above 0, up to 1"),
        ("share = 1.5", "share = 1.5 is not a number above 0, up to 1"),
        ("share = nan", "share = nan is not a number above 0, up to 1"),
        ("edits = 0", "is not a positive whole number"),
        ("edits = 1.5", "is not a positive whole number"),
        ("worst_of = 0", "is not a positive whole number"),
        ("worst_of = true", "is not a positive whole number"),
        ("copies = -1", "copies = -1 is not a whole number of 0 or more"),
        ('kinds = "typo"', "is not a list of names"),
        ("kinds = [1]", "is not a list of names"),
        ("kinds = []", "no kind of edit is named"),
        ('kinds = ["typos"]', "unknown kind of edit 'typos'; did you mean 'typo'?"),
        ("worst = 3", "[augmentation] has no entry 'worst'"),
    ],
)
def test_a_wrong_augmentation_is_named(entry, message):
    with pytest.raises(UsageError) as caught:
        parse_recipe(f"{MSE}[augmentation]\n{entry}", "mine", "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert message in str(caught.value)
