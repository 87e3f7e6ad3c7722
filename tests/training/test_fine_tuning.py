"""LoRA, rates by layer, precision, and activations that are computed again: pretrained students."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from english_teacher import COLORS, bitext, save_teacher
from torch.nn import functional as F

from kivuko.encoders.model import assemble, encode_texts
from kivuko.encoders.student import StaticStudent, load_transformer_student
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import UsageError
from kivuko.training.recipe import FineTuning, load_recipe, parse_recipe

TEXTS = [*COLORS][:3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_teacher(tmp_path_factory.mktemp("teacher")) / ".." / "bert"


def student(folder, dim=20, **settings):
    torch.manual_seed(0)
    found = load_transformer_student(folder, dim)
    FineTuning(**settings).prepare(found, new_words=False)
    return found


def step(own):
    """Let a student learn one thing."""
    own.train()
    optimizer = torch.optim.SGD([{"params": g["params"]} for g in FineTuning().groups(own)], lr=0.5)
    own.encode_tokens(TEXTS).pooled.square().sum().backward()
    optimizer.step()
    return own.eval()


class TestLora:
    """Low-rank adapters."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("peft")

    @torch.no_grad()
    def test_before_the_first_step_nothing_has_changed(self, folder):
        plain, adapted = student(folder).eval(), student(folder, lora_rank=4).eval()
        torch.testing.assert_close(adapted.encode_tokens(TEXTS).pooled, plain.encode_tokens(TEXTS).pooled)

    def test_adapters_and_the_projection_learn_and_nothing_else(self, folder):
        adapted = student(folder, lora_rank=2)
        learning = {name for name, one in adapted.named_parameters() if one.requires_grad}
        assert {"projection.weight", "projection.bias"} < learning
        assert all("lora_" in name or name.startswith("projection") for name in learning)
        before = {name: one.detach().clone() for name, one in adapted.named_parameters()}
        step(adapted)
        changed = {name for name, one in adapted.named_parameters() if not torch.equal(one, before[name])}
        assert changed <= learning
        assert any("lora_" in name for name in changed)
        groups = FineTuning(lora_rank=2).groups(adapted)
        assert sum(len(group["params"]) for group in groups) == len(learning)

    def test_the_model_holds_the_adapters_merged_and_needs_no_peft(self, folder, tmp_path):
        adapted = step(student(folder, lora_rank=4))
        model = assemble(adapted, None)
        with torch.no_grad():
            own = F.normalize(adapted.encode_tokens(TEXTS).pooled, dim=-1)
        torch.testing.assert_close(torch.from_numpy(encode_texts(model, TEXTS)), own, atol=1e-5, rtol=0)
        assert not any("lora" in name for name in model.state_dict())
        assert any("lora" in name for name in adapted.state_dict()), "the student itself goes on learning"

    def test_new_words_learn_too(self, folder):
        from kivuko.training.initialization import with_new_words
        from kivuko.training.recipe import Start

        own = with_new_words(
            load_transformer_student(folder, 20), bitext(), Start(vectors="transplant", aligner="counts")
        )
        FineTuning(lora_rank=2).prepare(own, new_words=True)
        assert own.model.get_input_embeddings().weight.requires_grad


def test_the_lower_a_layer_the_lower_its_rate(folder):
    own = student(folder)
    names = {id(one): name for name, one in own.named_parameters()}
    factors = {
        names[id(p)]: group["factor"] for group in FineTuning(layer_decay=0.5).groups(own) for p in group["params"]
    }
    assert set(factors) == set(names.values())
    layers = own.model.config.num_hidden_layers
    assert factors["projection.weight"] == 1.0
    for name, factor in factors.items():
        if ".layer." in name:
            assert factor == 0.5 ** (layers - 1 - int(name.split(".layer.")[1].split(".")[0]))
        elif "embeddings" in name:
            assert factor == 0.5**layers


def test_without_decay_all_is_one_group(folder):
    (group,) = FineTuning().groups(student(folder))
    assert group["factor"] == 1.0
    static = StaticStudent(train_vocabulary(TEXTS * 3, 60), 8)
    assert [len(group["params"]) for group in FineTuning(layer_decay=0.5).groups(static)] == [1]


def test_computing_activations_again_changes_no_gradient(folder):
    gradients = []
    for again in (False, True):
        own = student(folder, gradient_checkpointing=again).eval()  # no dropout, so that both are comparable
        if again:
            own.model.train()
            for module in own.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        own.encode_tokens(TEXTS).pooled.square().sum().backward()
        gradients.append(own.model.get_input_embeddings().weight.grad.clone())
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kind", ["contrastive", "mse"])
def test_training_the_rows_in_use_is_training_the_whole_table(folder, tiny_run, kind):
    content = f'[[objective]]\nkind = "{kind}"\n[schedule]\nsteps = 4\nbatch_size = 5\nlearning_rate = 0.5'
    students = []
    for embeddings in ("all", "used", "frozen"):
        recipe = parse_recipe(f'{content}\n[fine_tuning]\nembeddings = "{embeddings}"', "mine", "mine.toml")
        own = student(folder, 16)
        before = own.model.get_input_embeddings().weight.detach().clone()
        rows = recipe.fine_tuning.learning_rows(own, tiny_run.bitext)
        tiny_run.go(student=own, recipe=recipe, rows=rows)
        students.append(own.state_dict())
    assert students[0].keys() == students[1].keys()
    for name, value in students[0].items():
        torch.testing.assert_close(students[1][name], value, atol=1e-5, rtol=1e-4)
    table = next(name for name in students[0] if name.endswith("word_embeddings.weight"))
    assert not torch.equal(students[1][table], before)
    assert torch.equal(students[2][table], before)


class TestPrecision:
    """Training in bfloat16, also on a processor without hardware for it."""

    def test_auto_takes_what_the_device_is_fast_in(self, monkeypatch):
        for fast, precision in ((True, "bfloat16"), (False, "float32")):
            monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
            assert FineTuning().precision_on("cpu") == (
                precision if torch.backends.mkldnn.is_available() else "float32"
            )
        assert FineTuning().precision_on("meta") == "float32"
        assert FineTuning(precision="bfloat16").precision_on("cpu") == "bfloat16"

    @pytest.mark.parametrize("kind", ["bert", "teacher"])  # a TransformerStudent, a SentenceStudent
    def test_products_are_bfloat16_and_vectors_and_gradients_float32(self, folder, kind):
        gradients, vectors, evaluated = [], [], []
        for precision in (torch.float32, torch.bfloat16):
            own, products = student(folder / ".." / kind).train(), []
            own.precision = str(precision).removeprefix("torch.")
            for module in own.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0  # so that both are comparable
                if isinstance(module, torch.nn.Linear) and module is not own.projection:
                    module.register_forward_hook(lambda *of, products=products: products.append(of[2].dtype))
            batch = own.encode_tokens([*TEXTS, ""])
            assert set(products) == {precision}
            assert {batch.pooled.dtype, batch.content().dtype} == {torch.float32}
            batch.pooled.square().sum().backward()
            vectors.append(batch.pooled.detach())
            gradients.append(torch.cat([p.grad.flatten() for p in own.parameters() if p.grad is not None]))
            evaluated.append(own.eval().encode_tokens(TEXTS).pooled)
            assert products[-1] == torch.float32, "encoding stays in float32"
        assert torch.equal(*evaluated)
        assert not torch.equal(*vectors)
        torch.testing.assert_close(*vectors, rtol=0.02, atol=0.02)
        assert F.cosine_similarity(*gradients, dim=0) > 0.999

    def test_an_interrupted_run_ends_with_the_same_weights(self, folder, tiny_run, tmp_path):
        def interrupt(step, *_):
            if step == 6:
                raise KeyboardInterrupt

        def trained(precision, *, killed=False, **options):
            own = student(folder, 16)
            recipe = dataclasses.replace(tiny_run.recipe, fine_tuning=FineTuning(precision=precision))
            with pytest.raises(KeyboardInterrupt) if killed else contextlib.nullcontext():
                tiny_run.go(student=own, recipe=recipe, report=interrupt if killed else None, **options)
            return torch.cat([one.flatten() for one in own.state_dict().values()])

        whole = trained("bfloat16")
        trained("bfloat16", killed=True, checkpoints=tmp_path / "run")
        assert torch.equal(trained("bfloat16", checkpoints=tmp_path / "run"), whole)
        assert not torch.equal(trained("float32"), whole)

    def test_a_static_student_learns_as_ever(self, tiny_run):
        weights = []
        for precision in ("float32", "bfloat16"):
            recipe = dataclasses.replace(tiny_run.recipe, fine_tuning=FineTuning(precision=precision))
            own = tiny_run.new_student()
            tiny_run.go(student=own, recipe=recipe, device="cpu")
            weights.append(own.embedding.weight)
        assert torch.equal(*weights)


def test_a_recipe_names_it_and_training_is_another_run(tmp_path):
    content = (
        '[[objective]]\nkind = "mse"\n[fine_tuning]\nlora_rank = 8\nlayer_decay = 0.9\ngradient_checkpointing = true'
    )
    assert parse_recipe(content, "mine", "mine.toml").fine_tuning == FineTuning(8, 0.9, True)
    assert load_recipe("optical").fine_tuning == FineTuning()
    assert dataclasses.replace(load_recipe("mse"), fine_tuning=FineTuning(8)) != load_recipe("mse")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lora_rank = -1", "is not a whole number of 0 or more"),
        ("lora_rank = 1.5", "is not a whole number of 0 or more"),
        ("layer_decay = 0", "is not a number above 0, up to 1"),
        ("layer_decay = 1.1", "is not a number above 0, up to 1"),
        ('embeddings = "some"', "embeddings = 'some' is none of: used, all, frozen"),
        ('precision = "bf16"', "precision = 'bf16' is none of: auto, float32, bfloat16"),
        ("gradient_checkpointing = 1", "gradient_checkpointing = 1 is neither true nor false"),
        ("lora = 8", "did you mean 'lora_rank'"),
    ],
)
def test_what_cannot_be_is_refused(line, message):
    with pytest.raises(UsageError, match=message):
        parse_recipe(f'[[objective]]\nkind = "mse"\n[fine_tuning]\n{line}', "mine", "mine.toml")
