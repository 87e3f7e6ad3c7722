"""Exporting the text side of a model as ONNX, and running it without torch."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import tiny_clip
from kivuko.encoders.model import About, Model, encode_texts, load_encoder, load_model, save_model
from kivuko.encoders.onnx_export import Exported, agreement, export_onnx
from kivuko.encoders.onnx_text import OnnxTextEncoder
from kivuko.encoders.student import StaticStudent, load_transformer_student, small_transformer
from kivuko.encoders.vocabulary import train_vocabulary
from kivuko.errors import CorruptFileError, KivukoError, MissingDependencyError, ModelError

onnx = pytest.importorskip("onnx")
for library in ("onnxscript", "onnxruntime"):
    pytest.importorskip(library)

TEXTS = ["paka anakula samaki mtoni", "मांजर मासा खातो", "cat", "a ferry crosses the river " * 30, "ferry the a"]
ABOUT = About("teacher", "teacher", "static", "optical", 0, {"sw": 1})


def make_student(kind, request):
    torch.manual_seed(0)
    if kind == "static":
        return StaticStudent(train_vocabulary(TEXTS * 3, size=80), 16).eval()
    if kind == "small-transformer":
        return small_transformer(train_vocabulary(TEXTS * 3, size=80), dim=20, layers=1, width=16).eval()
    return load_transformer_student(request.getfixturevalue(kind), 20).eval()


@pytest.fixture(scope="module", params=["static", "small-transformer", "tiny_bert", "tiny_xlm_roberta"])
def exported(request, tmp_path_factory):
    """A model of each kind of student, and its export: (loaded model, what export_onnx returned)."""
    place = tmp_path_factory.mktemp("export")
    save_model(place / "model", make_student(request.param, request), None, ABOUT, "card")
    return load_encoder(place / "model"), export(place / "model", place / "out", TEXTS, int8=True)


def export(folder, out, texts=(), **options) -> Exported:
    return export_onnx(load_model(folder, device="cpu"), out, texts=texts, **options)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_graph_gives_torchs_vectors(exported, batch_size):
    model, result = exported
    texts = [*TEXTS, "paka " * 500, "", "🐈 zebra"]
    vectors = OnnxTextEncoder.open(result.folder).encode(texts, batch_size)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, encode_texts(model, texts), atol=2e-5)


def test_the_check_is_described(exported):
    _, result = exported
    assert result.float32.worst > 1 - 1e-5
    assert result.float32.mean >= result.float32.worst
    assert result.float32.recall == 1.0
    assert result.float32.texts > len(TEXTS)
    about = json.loads((result.folder / "export.json").read_text("utf-8"))
    assert about["dim"] == result.dim == OnnxTextEncoder.open(result.folder).dim
    assert about["files"]["model.onnx"]["worst"] == result.float32.worst
    assert about["files"]["model.onnx"]["bytes"] == (result.folder / "model.onnx").stat().st_size


def test_eight_bits_are_near_and_measured(exported):
    model, result = exported
    vectors = OnnxTextEncoder.open(result.folder, int8=True).encode(TEXTS)
    cosines, _ = agreement(vectors, encode_texts(model, TEXTS))
    assert 0.97 < cosines.min() < 1 - 1e-7, "quantized, and not too coarsely"
    # Activations of a batch share a scale, so that in another batch a text's vector is a little different.
    assert result.int8.worst <= cosines.min() + 1e-3
    stored = onnx.load(str(result.folder / "model.int8.onnx"))
    (table,) = [one for one in stored.graph.initializer if one.name.endswith(".rows.weight_quantized")]
    assert table.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)


def test_wrong_sizes_that_an_exporter_noted_down_do_not_stop_eight_bits(exported, tmp_path):
    from kivuko.encoders.onnx_export import quantize_graph

    _, result = exported
    graph = onnx.load(str(result.folder / "model.onnx"))
    wrong = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [7, 7, 7, 7])
        for node in graph.graph.node
        for name in node.output
    ]
    del graph.graph.value_info[:]
    graph.graph.value_info.extend(wrong)
    onnx.save(graph, str(tmp_path / "model.onnx"))
    quantize_graph(tmp_path / "model.onnx", tmp_path / "small.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "small.onnx"]


def test_the_graph_has_named_free_axes(exported):
    graph = onnx.load(str(exported[1].folder / "model.onnx")).graph
    axes = {one.name: [axis.dim_param or axis.dim_value for axis in one.type.tensor_type.shape.dim]
            for one in (*graph.input, *graph.output)}  # fmt: skip
    assert axes == {
        "input_ids": ["batch", "length"], "attention_mask": ["batch", "length"],
        "sentence_embedding": ["batch", exported[1].dim],
    }  # fmt: skip


def test_the_example_of_the_card_runs_without_torch(exported):
    model, result = exported
    card = (result.folder / "README.md").read_text("utf-8")
    example = card.split("```python\n")[1].split("```")[0]
    blocked = "import sys\nfor name in ('torch', 'transformers', 'sentence_transformers', 'kivuko', 'onnx'):\n"
    requested = "\nprint(encode(['paka anakula samaki mtoni', 'cat']).tolist())\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}    sys.modules[name] = None\n{example}{requested}"],
        capture_output=True, text=True, cwd=result.folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    vectors = np.array(json.loads(done.stdout.splitlines()[-1]))
    expected = encode_texts(model, ["paka anakula samaki mtoni", "cat"])
    assert (vectors * expected).sum(1).min() > 0.95  # the example takes the last graph, of eight bits


def sentence_transformer(folder, place, *, pooling="mean", prompt=None, length=None, normalize=False):
    """Save a sentence-transformers folder over an encoder, not normalized unless requested."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    options = {"processing_kwargs": {"text": {"padding": "max_length", "max_length": length}}} if length else {}
    modules = [Transformer(str(folder), **options)]
    modes = pooling if isinstance(pooling, tuple) else (pooling,)
    modules += [Pooling(modules[0].get_embedding_dimension(), pooling_mode=modes)] + [Normalize()] * normalize
    content = {"prompts": {"query": prompt}, "default_prompt_name": "query"} if prompt else {}
    SentenceTransformer(modules=modules, device="cpu", **content).save(str(place))
    return place


@pytest.fixture(scope="module")
def one_layer(tiny_bert, tmp_path_factory):
    """The tiny BERT with its first layer only: the exporter takes seconds for each."""
    from transformers import BertModel

    folder = shutil.copytree(tiny_bert, tmp_path_factory.mktemp("models") / "one-layer")
    BertModel.from_pretrained(tiny_bert, num_hidden_layers=1).save_pretrained(folder)
    return folder


def test_any_pooling_of_sentence_transformers(one_layer, tmp_path):
    """All in one model, which puts them side by side, since one export of each would take long."""
    folder = sentence_transformer(one_layer, tmp_path / "model", pooling=("mean", "cls", "max", "lasttoken"))
    result = export(folder, tmp_path / "out")
    assert result.float32.worst > 1 - 1e-5
    vectors = OnnxTextEncoder.open(result.folder).encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip2"])
def test_the_text_side_of_a_clip(tmp_path, kind):
    result = export_onnx(tiny_clip.MAKERS[kind](tmp_path / kind), tmp_path / "out", texts=["a Ferry", "cat"], int8=True)
    assert result.float32.worst > 1 - 1e-5
    assert result.int8.worst > 0.9


def test_the_default_prompt_is_put_before_every_text_and_the_model_is_left_as_it_was(one_layer, tmp_path):
    model = load_encoder(sentence_transformer(one_layer, tmp_path / "model", prompt="the river "))
    before = copy.deepcopy(model.state_dict())
    assert export_onnx(Model(model, "model"), tmp_path / "out", texts=()).float32.worst > 1 - 1e-5
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    result = OnnxTextEncoder.open(tmp_path / "out")
    np.testing.assert_allclose(result.encode(TEXTS), encode_texts(model, TEXTS), atol=2e-5)
    without = model.encode(TEXTS, prompt="", normalize_embeddings=True)
    assert np.abs(result.encode(TEXTS) - without).max() > 0.01
    assert result.about["prompt"] == "the river "


def test_texts_padded_to_one_length(one_layer, tmp_path):
    """As SigLIP reads them: the graph then takes that length only, and the tokenizer gives it."""
    folder = sentence_transformer(one_layer, tmp_path / "model", length=12)
    assert export(folder, tmp_path / "out").float32.worst > 1 - 1e-5
    graph = onnx.load(str(tmp_path / "out" / "model.onnx")).graph
    assert graph.input[0].type.tensor_type.shape.dim[1].dim_value == 12


def test_words_read_as_written(tmp_path):
    """A model that reads misspelled words is exported as it reads what is written."""
    from kivuko.bitext.pairs import Bitext, Pair
    from kivuko.encoders.spelling import SpellingNeighbors

    torch.manual_seed(0)
    student = StaticStudent(train_vocabulary(TEXTS * 3, size=80), 16)
    pairs = tuple(Pair("sw", text, "x", "here") for text in TEXTS)
    student.reader = SpellingNeighbors.from_bitext(Bitext(pairs))
    save_model(tmp_path / "model", student, None, ABOUT, "card")
    assert np.abs(encode_texts(load_encoder(tmp_path / "model"), ["samakki"])).max() > 0
    assert export(tmp_path / "model", tmp_path / "out", ["samakki mtoni"]).float32.worst > 1 - 1e-5


def test_a_graph_that_disagrees_is_not_written(one_layer, tmp_path, monkeypatch):
    from kivuko.encoders import onnx_export

    folder = sentence_transformer(one_layer, tmp_path / "model")
    whole = onnx_export.exported_tokenizer

    def without_special_tokens(*given):
        tokenizer = whole(*given)
        state = json.loads(tokenizer.to_str())
        return type(tokenizer).from_str(json.dumps(state | {"post_processor": None}))

    monkeypatch.setattr(onnx_export, "exported_tokenizer", without_special_tokens)
    with pytest.raises(ModelError, match="does not give torch's vectors") as caught:
        export(folder, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model"]


def test_an_export_is_replaced_and_nothing_else_is(tmp_path, request):
    save_model(tmp_path / "model", make_student("static", request), None, ABOUT, "card")
    export(tmp_path / "model", tmp_path / "out")
    export(tmp_path / "model", tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for place in (tmp_path / "mine", tmp_path / "mine" / "letter.txt", tmp_path / "model"):
        with pytest.raises(ModelError, match="is not an exported model"):
            export(tmp_path / "model", place)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_weights_that_are_no_numbers_are_refused(tmp_path, request):
    student = make_student("static", request)
    with torch.no_grad():
        student.embedding.weight[:] = float("nan")
    save_model(tmp_path / "model", student, None, ABOUT, "card")
    with pytest.raises(ModelError, match="not numbers"):
        export(tmp_path / "model", tmp_path / "out")


def test_a_missing_library_names_the_extra(monkeypatch, tmp_path, request):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    save_model(tmp_path / "model", make_student("static", request), None, ABOUT, "card")
    with pytest.raises(MissingDependencyError, match=r"onnxscript: pip install 'kivuko\[export\]'"):
        export(tmp_path / "model", tmp_path / "out")


class TestOpening:
    """What an exported folder may be."""

    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory, request):
        place = tmp_path_factory.mktemp("opening")
        save_model(place / "model", make_student("static", request), None, ABOUT, "card")
        return export(place / "model", place / "out").folder

    @pytest.fixture
    def folder(self, whole, tmp_path):
        return shutil.copytree(whole, tmp_path / "out")

    def test_another_folder(self, tmp_path):
        with pytest.raises(ModelError, match=r"no model\.onnx in it"):
            OnnxTextEncoder.open(tmp_path)

    def test_without_the_graph_of_eight_bits(self, folder):
        with pytest.raises(ModelError, match="--int8"):
            OnnxTextEncoder.open(folder, int8=True)

    @pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "export.json"])
    def test_a_damaged_file_is_named(self, folder, name):
        (folder / name).write_bytes((folder / name).read_bytes()[:50])
        with pytest.raises(CorruptFileError) as caught:
            OnnxTextEncoder.open(folder)
        assert str(caught.value).startswith(f"{folder / name}: ")
        assert "\n" not in str(caught.value)

    def test_no_texts(self, folder):
        result = OnnxTextEncoder.open(folder)
        assert result.encode([]).shape == (0, result.dim)
        assert result.encode([""]).shape == (1, result.dim)


def test_rows_agree_as_cosines():
    here = np.array([[1, 0], [0, 1], [0, 0], [0, 0], [0.6, 0.8]], dtype=np.float32)
    there = np.array([[1, 0], [1, 0], [0, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    cosines, recall = agreement(here, there)
    assert cosines.tolist() == pytest.approx([1, 0, 1, 0, 1])
    assert recall == pytest.approx(4 / 5)  # only the second has a nearer row than its own


def test_what_the_exporter_cannot_follow_is_named(one_layer, tmp_path, monkeypatch):
    folder = sentence_transformer(one_layer, tmp_path / "model")
    monkeypatch.setattr(torch.onnx, "export", lambda *_a, **_k: (_ for _ in ()).throw(RuntimeError("odd\nthing")))
    with pytest.raises(KivukoError, match=r"makes no ONNX graph of its text side \(RuntimeError: odd\)") as caught:
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert str(caught.value).startswith(str(folder))
