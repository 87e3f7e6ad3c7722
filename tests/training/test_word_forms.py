"""Words that join a pretrained vocabulary are matched in whatever case they are written."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch.nn import functional as F
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from kivuko.bitext.pairs import Bitext, Pair
from kivuko.encoders.model import assemble, encode_texts
from kivuko.encoders.student import SentenceStudent, TransformerStudent
from kivuko.encoders.vocabulary import add_words, case_forms, train_vocabulary
from kivuko.training.initialization import with_new_words
from kivuko.training.recipe import Start

ENGLISH = ("black", "cat", "white", "dog", "city", "road")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
# Words of a language in a script, and how a word is typed that training saw in small letters only.
SCRIPTS = {
    "sw": (["paka", "mweusi", "mbwa"], {"paka": ("Paka", "PAKA")}),
    "tr": (["istanbul", "ışık", "şehir"], {"istanbul": ("İstanbul", "İSTANBUL", "Istanbul"), "ışık": ("Işık", "IŞIK")}),
    "ru": (["кошка", "чёрная", "дорога"], {"чёрная": ("Чёрная", "ЧЁРНАЯ")}),
    "el": (["σκύλος", "δρόμος", "γάτα"], {"σκύλος": ("Σκύλος", "ΣΚΎΛΟΣ", "ΣΚΥΛΟΣ"), "δρόμος": ("ΔΡΌΜΟΣ",)}),
    "de": (["straße", "katze", "hund"], {"straße": ("Straße", "STRASSE"), "katze": ("Katze",)}),
    "mr": (["मांजर", "काळी", "रस्ता"], {"मांजर": ("मांजर",)}),
}


def letters():
    return sorted({letter for words, _ in SCRIPTS.values() for word in words for letter in word + word.upper() + "İ'"})


def unigram():
    """As XLM-RoBERTa: cased."""
    pieces = [(one, 0.0) for one in SPECIAL] + [(f"▁{word}", -2.0) for word in ENGLISH]
    single = [(one, -6.0) for one in sorted({*"abcdefghijklmnopqrstuvwxyz", *letters()})]
    own = Tokenizer(models.Unigram([*pieces, ("▁", -6.0), *single], 1))
    own.normalizer = normalizers.NFKC()
    own.pre_tokenizer = pre_tokenizers.Metaspace()
    own.decoder = decoders.Metaspace()
    return own


def word_piece(normalizer):
    known = dict.fromkeys([*SPECIAL, *ENGLISH, *letters(), *(f"##{one}" for one in letters())])
    own = Tokenizer(models.WordPiece({one: place for place, one in enumerate(known)}, unk_token="[UNK]"))
    own.normalizer = normalizer
    own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return own


def byte_pairs():
    """As RoBERTa: cased, of bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = Tokenizer(models.BPE({one: place for place, one in enumerate([*SPECIAL, *alphabet])}, [], unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return own


TOKENIZERS = {
    "cased Unigram": unigram,
    "cased WordPiece": lambda: word_piece(normalizers.NFC()),
    "uncased WordPiece": lambda: word_piece(normalizers.BertNormalizer(lowercase=True, strip_accents=False)),
    "cased BPE": byte_pairs,
}


def transformer(tokenizer):
    torch.manual_seed(0)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    )
    config = BertConfig(
        vocab_size=len(wrapped), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    return TransformerStudent(BertModel(config, add_pooling_layer=False), wrapped, 16, "tiny")


def bitext(code):
    words = SCRIPTS[code][0]
    return Bitext(tuple(Pair(code, text, english, "test") for text, english in zip(words, ENGLISH, strict=False)) * 3)


@pytest.mark.parametrize("code", SCRIPTS)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_an_added_word_is_matched_in_any_case(kind, code):
    student = with_new_words(
        transformer(TOKENIZERS[kind]()), bitext(code), Start(vectors="transplant", aligner="counts")
    ).eval()
    unread = student.tokenizer.unk_token_id
    for word, forms in SCRIPTS[code][1].items():
        for form in (word, *forms):
            pieces = student.tokenizer(f"{form} {SCRIPTS[code][0][1]}", add_special_tokens=False)
            assert unread not in pieces["input_ids"], form
            assert len(student.tokenize(form)) == 1 or student.tokenize(form)[0] in ("▁", "Ġ"), student.tokenize(form)
            with torch.no_grad():
                own, plain = student.encode_tokens([form]).pooled, student.encode_tokens([word]).pooled
            torch.testing.assert_close(own, plain)


def test_the_saved_model_matches_them_too_after_training():
    student = with_new_words(transformer(unigram()), bitext("sw"), Start(vectors="transplant", aligner="counts"))
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        student.encode_tokens(["paka mweusi", "Mbwa"]).pooled.square().sum().backward()
        optimizer.step()
    student.eval()
    texts = ["paka mweusi", "Paka Mweusi", "PAKA MWEUSI", "mbwa", "Mbwa"]
    vectors = encode_texts(assemble(student, None), texts)
    for one, other in ((0, 1), (0, 2), (3, 4)):
        assert vectors[one] @ vectors[other] == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        own = F.normalize(student.encode_tokens(texts).pooled, dim=-1)
    torch.testing.assert_close(torch.from_numpy(vectors), own, atol=1e-5, rtol=0)


def test_a_sentence_transformer_shares_vectors_as_well():
    from sentence_transformers.sentence_transformer.modules import Pooling

    whole = transformer(unigram())
    route = whole.to_modules()
    student = with_new_words(
        SentenceStudent([route[0], Pooling(16)], 16, "tiny"),
        bitext("ru"),
        Start(vectors="transplant", aligner="counts"),
    )
    vectors = encode_texts(assemble(student.eval(), None), ["кошка", "Кошка", "КОШКА"])
    assert vectors[0] @ vectors[1] == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[2] == pytest.approx(1, abs=1e-5)


def test_what_a_cased_student_knew_in_capitals_stays():
    own = unigram()
    state = own.get_vocab_size()
    tokenizer = Tokenizer.from_str(own.to_str().replace('["▁cat"', '["▁Paka",-2.0],["▁cat"'))
    assert tokenizer.get_vocab_size() == state + 1
    student = with_new_words(transformer(tokenizer), bitext("sw"), Start(vectors="transplant", aligner="counts"))
    assert student.tokenize("Paka") == ["▁Paka"]
    assert student.tokenize("Mbwa")[-1] == "Mbwa"


def test_letters_that_a_cased_vocabulary_lacks_are_read_in_capitals_as_well():
    pairs = tuple(Pair("hy", text, "cat", "test") for text in ("կատու", "կատուն", "տուն")) * 5
    student = with_new_words(
        transformer(word_piece(normalizers.NFC())), Bitext(pairs), Start(vectors="transplant", aligner="counts")
    )
    for text in ("կատու", "Կատու", "ԿԱՏՈՒ"):
        assert student.tokenizer.unk_token_id not in student.tokenizer(text)["input_ids"]


def test_a_turkish_name_makes_no_language_turkish():
    pairs = [Pair("sw", "ijumaa nzuri ya kijiji hiki", "cat", "test")] * 9
    pairs.append(Pair("sw", "Kılıç ijumaa", "dog", "test"))
    student = with_new_words(
        transformer(unigram()), Bitext(tuple(pairs)), Start(vectors="transplant", aligner="counts")
    ).eval()
    with torch.no_grad():
        own, plain = student.encode_tokens(["Ijumaa"]).pooled, student.encode_tokens(["ijumaa"]).pooled
    torch.testing.assert_close(own, plain)


@pytest.mark.parametrize("typed", ["d'eau", "d’eau", "dʼeau", "D'eau", "DʼEAU"])
def test_an_added_word_is_matched_with_any_apostrophe(typed):
    pairs = (Pair("fr", "d'eau", "cat", "test"), Pair("fr", "chien", "dog", "test")) * 3
    student = with_new_words(
        transformer(unigram()), Bitext(pairs), Start(vectors="transplant", aligner="counts")
    ).eval()
    with torch.no_grad():
        own, plain = student.encode_tokens([typed]).pooled, student.encode_tokens(["d'eau"]).pooled
    torch.testing.assert_close(own, plain)
    assert student.tokenize(typed)[-1] == typed


@pytest.mark.parametrize(
    ("seen", "dotted", "forms"),
    [
        ({"Paka": 2, "paka": 1}, False, ["paka", "Paka", "PAKA"]),
        ({"iPhone": 1}, False, ["iphone", "iPhone", "Iphone", "IPHONE"]),
        ({"İzmir": 1}, True, ["izmir", "İzmir", "İZMİR", "Izmir", "IZMIR"]),
        ({"IŞIK": 1}, True, ["ışık", "IŞIK", "Işık"]),
        ({"σκύλος": 1}, False, ["σκύλος", "Σκύλος", "ΣΚΎΛΟΣ", "ΣΚΥΛΟΣ"]),
        ({"मांजर": 1}, False, ["मांजर"]),
        ({"კატა": 1}, False, ["კატა", "ᲙᲐᲢᲐ"]),
    ],
)
def test_forms_of_a_word(seen, dotted, forms):
    assert case_forms(seen, dotted=dotted) == forms


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("İstanbul gecesi", "istanbul GECESİ"),
        ("σκύλος", "ΣΚΎΛΟΣ"),
        ("чёрная кошка", "ЧЁРНАЯ Кошка"),
        ("paka mweusi", "Paka MWEUSI"),
        ("काळी मांजर", "काळी मांजर"),
    ],
)
def test_a_vocabulary_of_the_bitext_knows_one_case(text, same):
    tokenizer = add_words(train_vocabulary([text, same] * 20, 120), ["istanbul", "paka"])
    assert tokenizer.encode(text).ids == tokenizer.encode(same).ids


@pytest.mark.parametrize("mark", list("'’‘ʼʻʽ`´′ꞌ＇"))
def test_look_alike_apostrophes_are_read_as_one(mark):
    tokenizer = train_vocabulary(["feu d’artifice", "l'eau", "мʼята", "м’який"] * 20, 120)
    for text in ("feu d{}artifice", "м{}ята", "l{}eau"):
        pieces = tokenizer.encode(text.format(mark)).tokens
        expected = tokenizer.encode(text.format("’" if mark != "'" else "'")).tokens
        assert pieces == expected
