"""Saved translators, models that are loaded by name, and how they translate."""

from __future__ import annotations

import importlib
import importlib.util
import json
from types import SimpleNamespace

import pytest
from tiny_nllb import save_nllb

from kivuko.errors import MissingDependencyError, ModelError, UsageError
from kivuko.languages import known_code
from kivuko.translation.seq2seq import ModelLanguages, Route, _route, load_translator


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    place = tmp_path_factory.mktemp("saved") / "translator"
    trained[0].save(place)
    return place


def test_a_saved_translator_translates_the_same(trained, folder, toy):
    texts = [pair.text for pair in toy[1].by_language()["sw"]]
    assert load_translator(folder).translate(texts, "sw") == trained[0].translate(texts, "sw")


def test_the_folder_has_hugging_faces_own_layout(trained, folder):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in folder.iterdir()
    }
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    written = model.generate(**tokenizer([">>sw<< paka nyeusi"], return_tensors="pt", return_token_type_ids=False))
    assert tokenizer.batch_decode(written, skip_special_tokens=True) == trained[0].translate(["paka nyeusi"], "sw")


def test_order_and_empty_texts_are_kept(trained):
    translator, _, _ = trained
    texts = ["simba ndogo", "", "paka nyeusi kubwa", "  ", "mbwa"]
    results = translator.translate(texts, "sw")
    assert [bool(text) for text in results] == [True, False, True, False, True]
    for text, translation in zip(texts, results, strict=True):
        assert translator.translate([text], "sw") == [translation], "a text's company must not matter"
    assert translator.translate([], "sw") == []


def test_batches_do_not_matter(trained, toy):
    translator, _, _ = trained
    texts = [pair.text for pair in toy[1].by_language()["so"]]
    before = translator.translate(texts, "so")
    try:
        translator.batch_size = 2
        assert translator.translate(texts, "so") == before
    finally:
        translator.batch_size = 64


def test_other_codes_of_the_language_are_taken_and_other_languages_refused(trained):
    translator, _, _ = trained
    assert translator.translate(["paka nyeusi"], "swh") == translator.translate(["paka nyeusi"], "sw")
    with pytest.raises(ModelError, match=r"trained on sw, so, not mr"):
        translator.translate(["मांजर"], "mr")
    with pytest.raises(UsageError, match="unknown language code"):
        translator.translate(["paka"], "xx-nonsense")


def test_a_saved_translator_refuses_other_languages_too(folder):
    with pytest.raises(ModelError, match="not mr"):
        load_translator(folder).translate(["मांजर"], "mr")


def test_letters_never_seen_and_very_long_texts_are_no_error(trained):
    results = trained[0].translate(["ჯჯ", "paka " * 500], "sw")
    assert len(results) == 2


def test_something_else_is_never_replaced(trained, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(ModelError, match="not a model folder; nothing was replaced"):
        trained[0].save(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"
    (tmp_path / "file").write_text("text")
    with pytest.raises(ModelError, match="nothing was replaced"):
        trained[0].save(tmp_path / "file")


def test_an_older_translator_is_replaced_and_nothing_else_is_left(trained, folder, tmp_path):
    place = tmp_path / "translator"
    trained[0].save(place)
    trained[0].save(place)
    assert [file.name for file in tmp_path.iterdir()] == ["translator"]
    assert (place / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


SEVEN = {
    "sw": "swh_Latn", "so": "som_Latn", "fil": "tgl_Latn", "mr": "mar_Deva", "fi": "fin_Latn", "de": "deu_Latn",
    "fr": "fra_Latn",
}  # fmt: skip
CODES = [*SEVEN.values(), "eng_Latn", "zho_Hant"]


@pytest.fixture(scope="module")
def nllb(tmp_path_factory):
    return save_nllb(tmp_path_factory.mktemp("hub") / "nllb", CODES)


class Watched:
    """Stands for a model, and remembers what it was given to translate."""

    def __init__(self, model):
        self.model, self.given = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def generate(self, **options):
        self.given.append((options, self.model.generate(**options)))
        return self.given[-1][1]


@pytest.mark.parametrize(("language", "code"), SEVEN.items())
def test_nllb_is_given_the_source_language_and_begins_in_english(nllb, language, code):
    translator = load_translator(nllb)
    translator.model = watched = Watched(translator.model)
    assert len(translator.translate(["paka", "paka ab"], language)) == 2
    options, written = watched.given[0]
    number = translator.tokenizer.convert_tokens_to_ids
    assert (options["input_ids"][:, 0] == number(code)).all()
    assert (written[:, 1] == number("eng_Latn")).all()
    assert translator.name == "nllb"


def test_a_language_without_a_code_is_refused(nllb):
    with pytest.raises(ModelError, match=r"nllb: has no code for Yoruba \(yo\) among its 9 languages"):
        load_translator(nllb).translate(["ologbo"], "yo")


def test_codes_are_matched_in_every_style():
    nllb, m2m, mbart = ModelLanguages(CODES), ModelLanguages(["__sw__", "__tl__", "__en__", "__zh__"]), None
    assert {code: nllb.find(code).code for code in SEVEN} == SEVEN
    assert [m2m.find(code).code for code in ("sw", "fil", "en", "zh")] == ["sw", "tl", "en", "zh"]
    assert m2m.find("fil").token == "__tl__"
    mbart = ModelLanguages(["sw_KE", "tl_XX", "mr_IN", "en_XX", "</s>", "<mask>"])
    assert len(mbart) == 4
    assert [mbart.find(code).code for code in ("sw", "fil", "mr")] == ["sw_KE", "tl_XX", "mr_IN"]
    assert mbart.find("de") is None
    both = ModelLanguages(["zho_Hans", "zho_Hant", "srp_Cyrl"])
    assert [both.find(code).code for code in ("zh", "zh-Hant", "sr")] == ["zho_Hans", "zho_Hant", "srp_Cyrl"]
    assert both.find("sr-Latn") is None, "a requested script is not exchanged for another"
    assert not ModelLanguages(["<s>", "paka", "__very_long__"])


# A code that names no script stands for one of two tokens, the language in its usual script.
IN_ANOTHER_SCRIPT = {"ace_Arab", "bjn_Arab", "kas_Deva", "knc_Arab", "taq_Tfng", "zho_Hant"}


def published(model):
    """Return the language tokens of a published model, from the lists of ``transformers``, and their plain codes."""
    module = {"nllb": "nllb.tokenization_nllb", "mbart": "mbart50.tokenization_mbart50"}.get(model)
    module = module or "m2m_100.tokenization_m2m_100"
    codes = importlib.import_module(f"transformers.models.{module}").FAIRSEQ_LANGUAGE_CODES
    return {f"__{code}__": code for code in codes[model]} if isinstance(codes, dict) else {code: code for code in codes}


@pytest.mark.parametrize(("model", "count"), [("nllb", 202), ("m2m100", 100), ("wmt21", 8), ("mbart", 52)])
def test_every_language_of_a_published_model_is_matched_by_its_code(model, count):
    tokens = published(model)
    languages = ModelLanguages(["<s>", *tokens, "</s>"])
    assert len(tokens) == len(languages) == count
    for token, code in tokens.items():
        plain = "nso" if token == "__ns__" else code.replace("_", "-")
        forms = {plain} if token in IN_ANOTHER_SCRIPT else {plain, plain.split("-")[0]}
        for form in forms:
            assert languages.find(form).token == token, form
            if known := known_code(form):  # as translate() normalizes it
                assert languages.find(known).token == token or token == "sat_Beng", (form, known)


@pytest.mark.parametrize(
    ("codes", "nllb", "m2m100"),
    [
        ("prs fa-AF prs-Arab", "prs_Arab", "__fa__"), ("fa fa-IR pes fas per", "pes_Arab", "__fa__"),
        ("zh zh-CN zh-SG zh-Hans cmn zho", "zho_Hans", "__zh__"),
        ("zh-TW zh-HK zh-MO zh-Hant cmn-Hant", "zho_Hant", None),
        ("yue zh-yue", "yue_Hant", None), ("no nb nob nb-NO", "nob_Latn", "__no__"), ("nn nno", "nno_Latn", None),
        ("sr srp sr-Cyrl sr-RS", "srp_Cyrl", "__sr__"), ("sr-Latn sh hbs", None, None),
        ("ps pus", "pbt_Arab", "__ps__"),
        ("ff", "fuv_Latn", "__ff__"), ("ay", "ayr_Latn", None), ("om gaz", "gaz_Latn", None), ("qu", "quy_Latn", None),
        ("kr", "knc_Latn", None), ("nso", "nso_Latn", "__ns__"), ("sat sat-Olck", "sat_Beng", None),
        ("pa pa-Guru", "pan_Guru", "__pa__"), ("pa-PK pa-Arab", None, None), ("uz-Cyrl", None, None),
        ("ar ar-EG", "arb_Arab", "__ar__"), ("arz", "arz_Arab", None), ("pt-BR", "por_Latn", "__pt__"),
        ("tw", "twi_Latn", None), ("ak", "aka_Latn", None), ("ko ko-KR", "kor_Hang", "__ko__"),
        ("iw", "heb_Hebr", "__he__"),
    ],
)  # fmt: skip
def test_other_codes_of_a_language_are_matched_too(codes, nllb, m2m100):
    for model, token in (("nllb", nllb), ("m2m100", m2m100)):
        languages = ModelLanguages(published(model))
        for code in codes.split():
            match = languages.find(known_code(code))
            assert (match and match.token) == token, (model, code)


def test_a_model_without_scripts_reads_a_language_in_any():
    languages = ModelLanguages(published("m2m100"))
    assert languages.find("zh-Hant", reading=True).token == "__zh__"
    assert languages.find("sr-Latn", reading=True).token == "__sr__"
    assert ModelLanguages(published("nllb")).find("sr-Latn", reading=True) is None
    assert ModelLanguages(["zh_CN"]).find("zh-Hant", reading=True) is None


@pytest.mark.parametrize(
    ("tags", "targets"),
    [
        (["cmn", "cmn_Hans", "cmn_Hant", "yue_Hant"], {"zh": "cmn_Hans", "zh-TW": "cmn_Hant", "yue": "yue_Hant"}),
        (
            ["srp_Cyrl", "srp_Latn", "bos_Latn", "hrv"],
            {"sr": "srp_Cyrl", "sr-Latn": "srp_Latn", "sh": "srp_Latn", "bs": "bos_Latn", "hr": "hrv"},
        ),
        (["nob", "nno", "dan"], {"no": "nob", "nb": "nob", "nn": "nno", "da": "dan"}),
        (["pes", "prs", "tgl_Latn", "zsm_Latn"], {"fa": "pes", "prs": "prs", "fil": "tgl_Latn", "ms": "zsm_Latn"}),
        (["pt", "pt_br", "es"], {"pt": "pt", "pt-BR": "pt_br", "pt-PT": "pt", "es-MX": "es"}),
    ],
)
def test_the_tags_of_marian_models_are_matched(tags, targets):
    tokens = ["</s>", *(f">>{tag}<<" for tag in tags)]
    for target, tag in targets.items():
        chosen = _route(
            SimpleNamespace(config=SimpleNamespace(model_type="marian")),
            tokenizer_like(tokens, source_lang="en", target_lang="mul"), "a-model", known_code(target),
        )  # fmt: skip
        assert chosen("en") == Route(prefix=f">>{tag}<< ")


def test_the_tags_of_madlad_are_matched():
    model = SimpleNamespace(config=SimpleNamespace(model_type="t5"))
    tokens = tokenizer_like(["<2en>", "<2zh>", "<2sr>", "<2fil>", "paka"])
    assert _route(model, tokens, "madlad", "sr")("en") == Route(prefix="<2sr> ")
    for target in ("zh-Hant", "de"):
        with pytest.raises(ModelError, match="madlad: does not translate into"):
            _route(model, tokens, "madlad", target)


def tokenizer_like(tokens, **more):
    numbers = {token: place for place, token in enumerate(tokens)}
    return SimpleNamespace(
        get_vocab=lambda: numbers, get_added_vocab=lambda: numbers, all_special_tokens=list(tokens),
        convert_tokens_to_ids=numbers.__getitem__, **more,
    )  # fmt: skip


def route(tokens, kind="marian", **more):
    model = SimpleNamespace(config=SimpleNamespace(model_type=kind))
    return _route(model, tokenizer_like(tokens, **more), "a-model")


def test_m2m100_gets_its_own_codes():
    assert route(["__sw__", "__en__"], "m2m_100")("sw") == Route(source_code="sw", first_token=1)


def test_opus_mt_translates_from_the_language_it_was_made_for():
    made_for_swahili = route(["</s>"], source_lang="sw", target_lang="en")
    assert made_for_swahili("sw") == Route()
    with pytest.raises(ModelError, match="a-model: translates from sw, not de"):
        made_for_swahili("de")
    assert route(["</s>"], source_lang="mul", target_lang="eng")("de") == Route()
    assert route(["</s>"], source_lang="tl", target_lang="en")("fil") == Route()
    assert route([">>fra<<", ">>eng<<"], source_lang="mul", target_lang="mul")("sw") == Route(prefix=">>eng<< ")
    assert route(["<2en>", "<2sw>"], "t5")("sw") == Route(prefix="<2en> ")


@pytest.mark.parametrize(
    ("tokens", "kind", "more", "message"),
    [
        (["</s>"], "marian", {"target_lang": "sw"}, "translates into sw, not English"),
        ([">>fra<<", ">>swa<<"], "marian", {}, "translates into fra, swa, not English"),
        (["__sw__", "__de__"], "m2m_100", {}, "does not translate into English"),
        (["</s>"], "bart", {}, "a bart model without language codes"),
    ],
)
def test_what_does_not_write_english_is_refused(tokens, kind, more, message):
    with pytest.raises(ModelError, match=message):
        route(tokens, kind, **more)


def test_a_missing_folder_and_an_unknown_name_are_named(tmp_path):
    with pytest.raises(ModelError, match="no such model folder"):
        load_translator(tmp_path / "none")
    with pytest.raises(ModelError, match="nobody/nothing: not a translation model that loads"):
        load_translator("nobody/nothing")


def test_an_encoder_alone_is_no_translator(tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not a translation model that loads") as caught:
        load_translator(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="SentencePiece is installed")
def test_a_tokenizer_that_needs_sentencepiece_says_how_to_get_it(tmp_path):
    from transformers import MarianConfig, MarianMTModel

    MarianMTModel(
        MarianConfig(
            vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
            decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8, pad_token_id=0,
        )
    ).save_pretrained(tmp_path)  # fmt: skip
    for name in ("source.spm", "target.spm"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "vocab.json").write_text(json.dumps({"<unk>": 0, "</s>": 1, "<pad>": 2}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "MarianTokenizer"}))
    with pytest.raises(MissingDependencyError, match="pip install sentencepiece"):
        load_translator(tmp_path)


FOUR_CODES = ["swh_Latn", "som_Latn", "mar_Deva", "eng_Latn"]


@pytest.fixture(scope="module")
def four_languages(tmp_path_factory):
    return save_nllb(tmp_path_factory.mktemp("hub") / "nllb", FOUR_CODES)


@pytest.mark.parametrize(("target", "code"), [("sw", "swh_Latn"), ("mr", "mar_Deva")])
def test_nllb_reads_english_and_begins_in_the_target(four_languages, target, code):
    translator = load_translator(four_languages, target)
    generate, seen = translator.model.generate, []

    def watched(**options):
        seen.append((options["input_ids"], generate(**options)))
        return seen[-1][1]

    translator.model.generate = watched
    assert len(translator.translate(["cat", "cat ab"], "en")) == 2
    number = translator.tokenizer.convert_tokens_to_ids
    assert (seen[0][0][:, 0] == number("eng_Latn")).all()
    assert (seen[0][1][:, 1] == number(code)).all()


def test_a_model_that_does_not_write_it_is_refused(four_languages, tmp_path):
    with pytest.raises(
        ModelError, match=r"nllb: does not translate into Yoruba: has no code for Yoruba \(yo\) among its 4"
    ):
        load_translator(four_languages, "yo")
    with pytest.raises(ModelError, match="no such model folder"):
        load_translator(tmp_path / "none", "sw")
    with pytest.raises(ModelError, match=r"nllb: has no code for French \(fr\)"):
        load_translator(four_languages, "sw").translate(["chat"], "fr")
