"""Losses for SentenceTransformerTrainer: the example of the docs learns, and what cannot work is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding

import kivuko
from kivuko import losses
from kivuko.encoders.student import TransformerStudent
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.token_batch import TokenBatch, masked_mean
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import ModelError, UsageError
from tiny_bert import save_bert, save_teacher

DOCS = Path(__file__).parents[2] / "docs" / "recipes.md"
WORDS = {"paka": "cat", "mbwa": "dog", "ndege": "bird", "mtoto": "child", "anakula": "eats", "analala": "sleeps"}
PAIRS = [
    (f"{one} {two}", f"{WORDS[one]} {WORDS[two]}")
    for one in list(WORDS)[:4]
    for two in list(WORDS)[4:]
]  # fmt: skip
ALL = [
    losses.TransportLoss, losses.ContrastiveLoss, losses.MSELoss, losses.CosineLoss, losses.GreedyLoss,
    losses.BarycenterLoss, losses.RelationalLoss, losses.DistillationLoss,
]  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A tiny teacher of width 24; read only."""
    return str(save_teacher(tmp_path_factory.mktemp("losses") / "teacher", list(WORDS.values()), 24))


def static_student(width=24, seed=0):
    torch.manual_seed(seed)
    vocabulary = train_vocabulary([text for text, _ in PAIRS] * 3, 60)
    return SentenceTransformer(modules=[StaticEmbedding(vocabulary, embedding_dim=width), Normalize()], device="cpu")


@pytest.fixture
def transformer_student(tmp_path):
    body = Transformer(str(save_bert(tmp_path / "body", list(WORDS), 16)))
    modules = [body, Pooling(16), Dense(16, 24, activation_function=torch.nn.Identity())]
    return SentenceTransformer(modules=modules, device="cpu")


def batch(model):
    """Return the pairs as the trainer's collator gives them."""
    return [dict(model.preprocess([pair[side] for pair in PAIRS])) for side in (0, 1)]


def reciprocal_rank(student, pairs, teacher):
    """Mean reciprocal rank of each pair's own English sentence among all."""
    targets = np.asarray(teacher.model.encode([english for _, english in pairs], normalize_embeddings=True))
    scores = student.encode([text for text, _ in pairs], normalize_embeddings=True) @ targets.T
    ranks = (scores >= scores.diagonal()[:, None]).sum(1)
    return float((1 / ranks).mean())


def test_the_example_of_the_docs_learns(tmp_path, monkeypatch):
    block = next(one for one in re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.S) if "Trainer" in one)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sw.tsv").write_text("".join(f"{text}\t{english}\n" for text, english in PAIRS), encoding="utf-8")
    static_student(384).save(str(tmp_path / "my-static-student"), create_model_card=False)
    noted = []
    forward = losses.TransportLoss.forward
    monkeypatch.setattr(losses.TransportLoss, "forward", lambda *given: noted.append(forward(*given)) or noted[-1])
    names: dict[str, object] = {}
    exec(block, names)
    first, last = noted[0].item(), noted[-1].item()
    assert last < 0.5 * first
    english = load_teacher()
    untrained = SentenceTransformer(str(tmp_path / "my-static-student"), device="cpu")
    trained = reciprocal_rank(names["student"].to("cpu"), PAIRS, english)
    assert trained > reciprocal_rank(untrained, PAIRS, english) + 0.2
    assert trained > 0.8


@pytest.mark.parametrize("kind", ALL)
def test_every_loss_falls(kind, teacher):
    student = static_student()
    loss = kind(student, teacher)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.02)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(batch(student), None)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.8 * values[0], kind.__name__


def test_a_transformer_student_learns_through_its_dense_module(transformer_student, teacher):
    loss = losses.TransportLoss(transformer_student, teacher, centered="none")
    value = loss(batch(transformer_student), None)
    value.backward()
    moved = {name for name, one in transformer_student.named_parameters() if one.grad is not None and one.grad.any()}
    assert any("linear" in name for name in moved)
    assert any("attention" in name for name in moved)


def test_tokens_are_those_that_kivuko_trains(transformer_student, teacher):
    texts = [text for text, _ in PAIRS]
    own = TransformerStudent(transformer_student[0].model, transformer_student[0].tokenizer, 24, "own").eval()
    own.projection.load_state_dict(transformer_student[2].linear.state_dict())
    transformer_student.eval()
    expected = own.encode_tokens(texts)
    encoded = losses.trainer_losses._encode_tokens(transformer_student, transformer_student.preprocess(texts))
    torch.testing.assert_close(encoded.content(), expected.content(), atol=1e-5, rtol=0)
    torch.testing.assert_close(encoded.pooled, expected.pooled, atol=1e-5, rtol=0)


def test_the_loss_is_the_objective_of_both_encodings(teacher):
    student = static_student()
    value = losses.TransportLoss(student, teacher, centered="none", regularization=0.1)(batch(student), None)
    encodings = [student[0].tokenizer.encode(text, add_special_tokens=False).ids for text, _ in PAIRS]
    length = max(map(len, encodings))
    mask = torch.tensor([[place < len(ids) for place in range(length)] for ids in encodings])
    padded = torch.tensor([ids + [0] * (length - len(ids)) for ids in encodings])
    tokens = student[0].embedding.weight[padded].detach()
    expected = losses.TransportObjective(regularization=0.1)(
        TokenBatch(tokens, mask, masked_mean(tokens, mask)),
        load_teacher(teacher).encode_tokens([english for _, english in PAIRS]),
    )
    torch.testing.assert_close(value, expected.total, atol=1e-5, rtol=0)


def test_the_center_is_the_mean_of_all_english_tokens_so_far(teacher):
    student = static_student()
    loss = losses.TransportLoss(student, teacher)
    columns = batch(student)
    loss(columns, None)
    loss(columns, None)  # sentences met before do not count twice
    content = load_teacher(teacher).encode_tokens([english for _, english in PAIRS]).content()
    torch.testing.assert_close(loss._mean, content.mean(0), atol=1e-5, rtol=0)


def test_the_student_encodes_and_saves_as_before(teacher, tmp_path):
    student = static_student()
    before = student.encode(["paka anakula"])
    losses.TransportLoss(student, teacher)
    losses.ContrastiveLoss(student, teacher)
    np.testing.assert_array_equal(student.encode(["paka anakula"]), before)
    student.save(str(tmp_path / "m"), create_model_card=False)
    np.testing.assert_allclose(SentenceTransformer(str(tmp_path / "m")).encode(["paka anakula"]), before, atol=1e-6)


def test_a_sentence_with_two_translations_is_no_negative_of_itself(teacher):
    student = static_student()
    loss = losses.ContrastiveLoss(student, teacher)
    pairs = [("paka", "cat"), ("Paka", "bird")]
    columns = [dict(student.preprocess([pair[side] for pair in pairs])) for side in (0, 1)]
    assert loss(columns, None).item() == 0
    columns = [dict(student.preprocess(list(side))) for side in (("paka", "mbwa"), ("cat", "bird"))]
    assert loss(columns, None).item() > 0


def test_a_temperature_that_is_learned_is_a_parameter_of_the_loss(teacher):
    loss = losses.ContrastiveLoss(static_student(), teacher, learned=True)
    assert [name for name, _ in loss.named_parameters() if "log_scale" in name]


def test_a_trainer_with_labels_of_its_own_is_not_disturbed(teacher, tmp_path):
    from datasets import Dataset

    student = static_student()
    data = Dataset.from_dict({"sentence": [a for a, _ in PAIRS], "translation": [b for _, b in PAIRS]})
    settings = SentenceTransformerTrainingArguments(
        str(tmp_path / "run"), max_steps=2, per_device_train_batch_size=4, report_to="none", use_cpu=True
    )
    loss = losses.DistillationLoss(student, teacher, [{"kind": "transport"}, {"kind": "mse", "weight": 0.1}])
    SentenceTransformerTrainer(model=student, args=settings, train_dataset=data, loss=loss).train()


def test_what_cannot_work_is_refused(teacher):
    with pytest.raises(UsageError, match="objective 'transport' has no option 'regularisation'"):  # codespell:ignore
        losses.TransportLoss(static_student(), teacher, regularisation=1.0)  # codespell:ignore regularisation
    with pytest.raises(UsageError, match="unknown objective kind 'sinkhorn'"):
        losses.DistillationLoss(static_student(), teacher, [{"kind": "sinkhorn"}])
    with pytest.raises(ModelError, match="16 wide, the teacher's 24"):
        losses.TransportLoss(static_student(16), teacher)
    student = static_student()
    columns = batch(student)  # made before the loss: the texts are not passed on
    with pytest.raises(UsageError, match="made before the trainer"):
        losses.TransportLoss(student, teacher)(columns, None)


def test_losses_are_reached_from_the_package():
    assert kivuko.losses is losses
    assert "losses" in kivuko.__all__
