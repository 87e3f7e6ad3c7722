"""Translation models told to write another language than English, in the libraries' own layout."""

from __future__ import annotations

import pytest
import torch

from kivuko.errors import ModelError
from kivuko.translation.directed import load_translator_into

CODES = ["swh_Latn", "som_Latn", "mar_Deva", "eng_Latn"]
PIECES = ["▁", *"abcdefghijklmnop", "▁paka", "▁cat"]


@pytest.fixture(scope="module")
def nllb(tmp_path_factory):
    """A random model in NLLB's layout."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    vocabulary = {piece: n for n, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *PIECES])}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[], additional_special_tokens=CODES)
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=32,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    place = tmp_path_factory.mktemp("hub") / "nllb"
    M2M100ForConditionalGeneration(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.mark.parametrize(("target", "code"), [("sw", "swh_Latn"), ("mr", "mar_Deva")])
def test_nllb_reads_english_and_begins_in_the_target(nllb, target, code):
    translator = load_translator_into(nllb, target)
    generate, seen = translator.model.generate, []

    def watched(**options):
        seen.append((options["input_ids"], generate(**options)))
        return seen[-1][1]

    translator.model.generate = watched
    assert len(translator.translate(["cat", "cat ab"], "en")) == 2
    number = translator.tokenizer.convert_tokens_to_ids
    assert (seen[0][0][:, 0] == number("eng_Latn")).all()
    assert (seen[0][1][:, 1] == number(code)).all()


def test_a_model_that_does_not_write_it_is_refused(nllb, tmp_path):
    with pytest.raises(ModelError, match=r"nllb: has no code for Yoruba \(yo\) among its 4 languages"):
        load_translator_into(nllb, "yo")
    with pytest.raises(ModelError, match="no such model folder"):
        load_translator_into(tmp_path / "none", "sw")
    with pytest.raises(ModelError, match=r"no code for French \(fr\), which is to be translated"):
        load_translator_into(nllb, "sw").translate(["chat"], "fr")
