"""Translation models told to write another language than English, in the libraries' own layout."""

from __future__ import annotations

import pytest
from tiny_nllb import save_nllb

from kivuko.errors import ModelError
from kivuko.translation.pretrained import load_translator

CODES = ["swh_Latn", "som_Latn", "mar_Deva", "eng_Latn"]


@pytest.fixture(scope="module")
def nllb(tmp_path_factory):
    return save_nllb(tmp_path_factory.mktemp("hub") / "nllb", CODES)


@pytest.mark.parametrize(("target", "code"), [("sw", "swh_Latn"), ("mr", "mar_Deva")])
def test_nllb_reads_english_and_begins_in_the_target(nllb, target, code):
    translator = load_translator(nllb, target)
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
    with pytest.raises(
        ModelError, match=r"nllb: does not translate into Yoruba: has no code for Yoruba \(yo\) among its 4"
    ):
        load_translator(nllb, "yo")
    with pytest.raises(ModelError, match="no such model folder"):
        load_translator(tmp_path / "none", "sw")
    with pytest.raises(ModelError, match=r"nllb: has no code for French \(fr\)"):
        load_translator(nllb, "sw").translate(["chat"], "fr")
