"""The training loop: what it sees, what it learns, and what it refuses."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import CorruptFileError, DataError, UsageError
from kivuko.training.loop import warmup_cosine
from kivuko.training.recipe import Schedule, parse_recipe
from kivuko.training.student_training import _vocabulary, batches


def weights(student):
    return {key: value.detach().clone() for key, value in student.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("pairs", "size"), [(10, 3), (10, 10), (10, 5), (7, 4), (3, 100), (1, 1)])
def test_each_pair_comes_once_an_epoch(pairs, size):
    steps = 4 * pairs
    everything = list(batches(pairs, Schedule(steps=steps, batch_size=size), seed=5, start=0))
    assert [step for step, _ in everything] == list(range(1, steps + 1))
    assert {len(rows) for _, rows in everything} == {min(size, pairs)}
    flow = torch.cat([rows for _, rows in everything])
    epochs = flow[: len(flow) // pairs * pairs].view(-1, pairs)
    assert len(epochs) >= 4
    assert (epochs.sort(1).values == torch.arange(pairs)).all()
    if pairs > 5:
        assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1, "each epoch has an order of its own"


@pytest.mark.parametrize("start", [1, 6, 7, 19])
def test_the_batches_of_a_resumed_run_are_those_it_had_to_come(start):
    schedule = Schedule(steps=20, batch_size=3)
    whole = list(batches(10, schedule, seed=5, start=0))
    rest = list(batches(10, schedule, seed=5, start=start))
    assert [step for step, _ in rest] == list(range(start + 1, 21))
    assert all(torch.equal(rows, whole[step - 1][1]) for step, rows in rest)


def test_the_seed_gives_the_order():
    def flow(seed):
        return torch.cat([rows for _, rows in batches(50, Schedule(steps=5, batch_size=10), seed, 0)])

    assert torch.equal(flow(1), flow(1))
    assert not torch.equal(flow(1), flow(2))


def test_the_learning_rate_rises_in_a_line_and_falls_as_a_cosine_to_zero():
    def rate(step, steps=110, warmup=10 / 110):
        return warmup_cosine(step, steps, warmup)

    assert [rate(step) for step in (1, 5, 10)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate(60) == pytest.approx(0.5)
    assert rate(35) == pytest.approx(0.5 + 0.5 * 0.5**0.5)
    assert rate(110) == pytest.approx(0.0, abs=1e-12)
    assert rate(1, steps=1, warmup=0.0) == 1.0


def test_the_first_step_uses_the_scheduled_rate(tiny_run):
    # AdamW moves each weight that has a gradient by the rate (its first step is the sign of the gradient).
    before = weights(tiny_run.student)["embedding.weight"]
    recipe = tiny_run.recipe.with_schedule(steps=100, warmup=0.5, learning_rate=1.0, weight_decay=0.0, validate_every=1)
    taken = []

    def report(step, *_):
        taken.append((tiny_run.student.embedding.weight - before).abs().max().item())
        if step == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_run.go(recipe=recipe, report=report)
    assert taken == pytest.approx([1 / 50], rel=1e-3)


def test_the_loss_falls_and_the_student_learns(tiny_run):
    losses = []
    before = tiny_run.validation.score(tiny_run.student)
    recipe = tiny_run.recipe.with_schedule(steps=80, validate_every=20)
    outcome = tiny_run.go(recipe=recipe, report=lambda step, steps, figures: losses.append(figures["loss"]))
    assert len(losses) == 80
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert outcome.best_score > before + 0.2


def test_the_report_names_the_parts_of_the_loss(tiny_run):
    told = []
    tiny_run.go(report=lambda *at: told.append(at))
    assert [(step, steps) for step, steps, _ in told] == [(step, 12) for step in range(1, 13)]
    figures = told[0][2]
    assert set(figures) == {"loss", "contrastive", "transport", "unconverged"}
    assert figures["loss"] == pytest.approx(figures["contrastive"] + 0.5 * figures["transport"], rel=1e-5)


def test_the_student_is_left_with_the_weights_that_scored_best(tiny_run):
    recipe = tiny_run.recipe.with_schedule(steps=40, validate_every=3, learning_rate=0.3)
    outcome = tiny_run.go(recipe=recipe)
    steps, scores = zip(*outcome.history, strict=True)
    assert steps == (*range(3, 40, 3), 40), "after every third step and after the last"
    assert outcome.best_score == max(scores)
    assert outcome.best_step == steps[scores.index(max(scores))], "the first of equals"
    assert outcome.best_step != 40, "this test needs a run that gets worse in the end"
    assert not tiny_run.student.training
    assert tiny_run.validation.score(tiny_run.student) == outcome.best_score


def test_the_same_seed_gives_the_same_weights_bit_for_bit(tiny_run):
    found = []
    for noise, seed in ((1, 0), (2, 0), (3, 1)):
        student = tiny_run.new_student()
        torch.manual_seed(noise)  # what happened before must not matter
        tiny_run.go(student=student, seed=seed)
        found.append(weights(student))
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2])


def test_checkpoints_do_not_change_what_is_learned(tiny_run, tmp_path):
    students = [tiny_run.new_student(), tiny_run.new_student()]
    plain = tiny_run.go(student=students[0])
    kept = tiny_run.go(student=students[1], checkpoints=tmp_path / "run")
    assert equal(weights(students[0]), weights(students[1]))
    assert plain.history == kept.history


def test_an_interrupted_run_goes_on_with_the_same_history(tiny_run, tmp_path):
    def interrupt(step, *_):
        if step == 10:
            raise KeyboardInterrupt

    students = [tiny_run.new_student(), tiny_run.new_student()]
    whole = tiny_run.go(student=students[0])
    with pytest.raises(KeyboardInterrupt):
        tiny_run.go(student=tiny_run.new_student(), checkpoints=tmp_path / "run", report=interrupt)
    resumed = tiny_run.go(student=students[1], checkpoints=tmp_path / "run")
    assert dataclasses.replace(resumed, seconds=0) == dataclasses.replace(whole, seconds=0)
    assert equal(weights(students[0]), weights(students[1]))


def test_a_finished_run_takes_no_further_step(tiny_run, tmp_path):
    students = [tiny_run.new_student(), tiny_run.new_student()]
    first = tiny_run.go(student=students[0], checkpoints=tmp_path / "run")
    steps = []
    second = tiny_run.go(student=students[1], checkpoints=tmp_path / "run", report=lambda step, *_: steps.append(step))
    assert steps == []
    assert (second.history, second.best_step) == (first.history, first.best_step)
    assert equal(weights(students[0]), weights(students[1]))


def other(run, what):
    """Arguments that make another run of the tiny run."""
    match what:
        case "seed":
            return {"seed": 1}
        case "schedule":
            return {"recipe": run.recipe.with_schedule(learning_rate=0.04)}
        case "weight of an objective":
            first, second = run.recipe.terms
            return {"recipe": dataclasses.replace(run.recipe, terms=(first, dataclasses.replace(second, weight=0.4)))}
        case "pairs":
            return {"bitext": Bitext(run.bitext.pairs[:-1])}
        case "translation":
            changed = dataclasses.replace(run.bitext.pairs[0], text="nyau")
            return {"bitext": Bitext((changed, *run.bitext.pairs[1:]))}
        case "first weights":
            return {"student": run.new_student(seed=1)}
        case "validation":
            queries = {"sw": list(reversed(run.validation.texts["sw"]))}
            return {"validation": dataclasses.replace(run.validation, texts=run.validation.texts | queries)}
    raise AssertionError(what)


@pytest.mark.parametrize(
    "what",
    ["seed", "schedule", "weight of an objective", "pairs", "translation", "first weights", "validation"],
)
def test_a_checkpoint_of_another_run_is_refused_and_kept(tiny_run, tmp_path, what):
    folder = tmp_path / "run"
    tiny_run.go(student=tiny_run.new_student(), checkpoints=folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(UsageError, match="belongs to another run") as caught:
        tiny_run.go(**({"student": tiny_run.new_student()} | other(tiny_run, what)), checkpoints=folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_checkpoint_of_the_same_shape_but_another_vocabulary_is_refused(tiny_run, tmp_path):
    tiny_run.go(student=tiny_run.new_student(), checkpoints=tmp_path / "run")
    student = tiny_run.new_student()
    state = json.loads(student.tokenizer.to_str())
    pieces = state["model"]["vocab"]
    pieces[5], pieces[6] = pieces[6], pieces[5]  # the same pieces, but the first weights stand for others
    student.tokenizer = type(student.tokenizer).from_str(json.dumps(state))
    with pytest.raises(UsageError, match="belongs to another run"):
        tiny_run.go(student=student, checkpoints=tmp_path / "run")


def test_a_damaged_checkpoint_is_named(tiny_run, tmp_path):
    tiny_run.go(student=tiny_run.new_student(), checkpoints=tmp_path / "run")
    file = next((tmp_path / "run").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match="to start this training again") as caught:
        tiny_run.go(student=tiny_run.new_student(), checkpoints=tmp_path / "run")
    assert str(file) in str(caught.value)


def test_no_pairs_are_refused(tiny_run):
    with pytest.raises(DataError, match="no pairs to train on"):
        tiny_run.go(bitext=Bitext(()))


def test_a_single_pair_is_enough(tiny_run):
    outcome = tiny_run.go(bitext=Bitext((Pair("sw", "paka anakula", "cat eats", "here:1"),)))
    assert len(outcome.history) == 3


def test_a_run_that_diverges_says_so(tiny_run, tmp_path):
    recipe = parse_recipe(
        '[[objective]]\nkind = "mse"\n[schedule]\nsteps = 20\nlearning_rate = 1e25', "wild", "wild.toml"
    )
    with pytest.raises(UsageError, match=r"training diverged at step \d+ .* Lower learning_rate"):
        tiny_run.go(recipe=recipe, checkpoints=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.json").exists()


def test_batches_that_accumulate_are_one_large_batch_where_sentences_do_not_meet(tiny_run):
    content = '[[objective]]\nkind = "mse"\n[schedule]\nlearning_rate = 0.05\nsteps = 6\n'
    students = []
    for more in ("batch_size = 16", "batch_size = 4\naccumulation = 4"):
        student = tiny_run.new_student()
        student.token_dropout = 0.0
        outcome = tiny_run.go(student=student, recipe=parse_recipe(content + more, "mine", "mine.toml"))
        students.append((weights(student)["embedding.weight"], [one["loss"] for one in outcome.curve]))
    torch.testing.assert_close(students[1][0], students[0][0], atol=1e-5, rtol=1e-3)
    assert students[1][1] == pytest.approx(students[0][1], rel=1e-4)


def test_epochs_are_passes_over_the_pairs(tiny_run):
    pairs = len(tiny_run.bitext)
    schedule = Schedule(epochs=2.5, batch_size=4, accumulation=2)
    assert schedule.for_pairs(pairs).steps == -(-5 * pairs // 16)
    assert Schedule(epochs=3.0, batch_size=100).for_pairs(10).steps == 3, "a batch has no more than all pairs"
    assert Schedule(steps=7).for_pairs(pairs) == Schedule(steps=7)
    recipe = parse_recipe('[[objective]]\nkind = "mse"\n[schedule]\nepochs = 2', "mine", "mine.toml")
    assert recipe.with_options(steps=9).schedule.epochs is None
    assert tiny_run.go(recipe=recipe).step == 2


def test_training_stops_when_nothing_gets_better_and_keeps_the_best(tiny_run, tmp_path):
    recipe = tiny_run.recipe.with_schedule(steps=40, validate_every=3, learning_rate=0.3)
    whole = tiny_run.go(recipe=recipe)
    patient = recipe.with_schedule(patience=2)
    students = [tiny_run.new_student(), tiny_run.new_student()]
    stopped = tiny_run.go(student=students[0], recipe=patient)
    assert stopped.step < whole.step == 40
    assert stopped.history == whole.history[: len(stopped.history)]
    assert [step > stopped.best_step for step, _ in stopped.history[-3:]] == [False, True, True]
    assert tiny_run.validation.score(students[0]) == stopped.best_score
    steps, count = [], lambda step, *_: steps.append(step)
    for _ in range(2):  # a run that was stopped has ended, and takes no further step
        again = tiny_run.go(student=students[1], recipe=patient, checkpoints=tmp_path / "run", report=count)
        students[1] = tiny_run.new_student()
        assert again.step == stopped.step
        assert len(steps) == stopped.step


def test_the_learning_curve_holds_means_and_scores(tiny_run):
    losses, curve = [], []
    recipe = tiny_run.recipe.with_schedule(steps=250, validate_every=100)
    outcome = tiny_run.go(
        recipe=recipe, report=lambda step, steps, figures: losses.append(figures["loss"]), record=curve.append
    )
    assert curve == outcome.curve
    steps = [one["step"] for one in curve]
    assert steps == sorted({*range(3, 251, 3), 100, 200, 250})
    assert {one["step"]: one["validation"] for one in curve if "validation" in one} == dict(outcome.history)
    first = 0
    for one in curve:
        assert one["loss"] == pytest.approx(sum(losses[first : one["step"]]) / (one["step"] - first))
        first = one["step"]
    assert set(curve[0]) == {"step", "loss", "contrastive", "transport", "unconverged", "learning_rate"}
    assert json.loads(json.dumps(curve)) == curve


def test_equal_bitexts_share_a_vocabulary_that_no_student_changes():
    one = Bitext(tuple(Pair("sw", f"paka mweusi {n}", f"black cat {n}", "") for n in range(40)))
    other = Bitext(one.pairs[:20])
    first, grown = _vocabulary(one, 120), _vocabulary(one, 120)
    grown.add_tokens(["neno-jipya"])
    learned = train_vocabulary((pair.text for pair in one.pairs), 120)
    assert _vocabulary(one, 120).to_str() == first.to_str() == learned.to_str()
    assert _vocabulary(other, 120).get_vocab() != first.get_vocab()
