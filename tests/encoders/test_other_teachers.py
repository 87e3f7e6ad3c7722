"""Teachers that put a prompt before a text, and late-interaction teachers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kivuko.encoders.teacher import MultiVectorTeacher, load_teacher

TEXTS = ["cat eats fish", "a ferry crosses the river"]


class TestPrompts:
    """A prompt is read, but is no content; E5 wants one, and some models bring their own."""

    @pytest.fixture(scope="class")
    def with_own(self, tiny_bert, tmp_path_factory):
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        model = SentenceTransformer(
            modules=[Transformer(str(tiny_bert)), Pooling(32)], device="cpu",
            prompts={"query": "the river "}, default_prompt_name="query",
        )  # fmt: skip
        folder = tmp_path_factory.mktemp("models") / "prompted"
        model.save(str(folder))
        return folder

    def test_the_vectors_are_of_the_prompted_text_and_the_mask_is_of_the_text(self, tiny_sentence_transformer):
        plain, prompted = load_teacher(tiny_sentence_transformer), load_teacher(tiny_sentence_transformer, "the river ")
        whole = plain.encode_tokens([f"the river {text}" for text in TEXTS])
        result = prompted.encode_tokens(TEXTS)
        torch.testing.assert_close(result.pooled, whole.pooled, atol=1e-6, rtol=0)
        assert result.mask.sum(1).tolist() == [3, 5] == (whole.mask.sum(1) - 2).tolist()
        assert result.mask[0].int().tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
        assert prompted.fingerprint != plain.fingerprint

    def test_a_models_own_prompt_is_taken_unless_another_is_given(self, with_own, tiny_sentence_transformer):
        own, content = load_teacher(with_own), load_teacher(tiny_sentence_transformer, "the river ")
        assert own.prompt == "the river "
        torch.testing.assert_close(own.encode_tokens(TEXTS).pooled, content.encode_tokens(TEXTS).pooled)
        none = load_teacher(with_own, "")
        torch.testing.assert_close(
            none.encode_tokens(TEXTS).pooled, load_teacher(tiny_sentence_transformer).encode_tokens(TEXTS).pooled
        )


class TestLateInteraction:
    """A MultiVectorEncoder as it is saved by its library."""

    @pytest.fixture(scope="class")
    def colbert(self, tiny_bert, tmp_path_factory):
        from sentence_transformers import MultiVectorEncoder

        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("models") / "colbert"
        MultiVectorEncoder(str(tiny_bert), device="cpu").save(str(folder))
        return folder

    def test_the_tokens_are_the_models_own(self, colbert):
        from sentence_transformers import MultiVectorEncoder

        teacher = load_teacher(colbert)
        assert isinstance(teacher, MultiVectorTeacher)
        batch = teacher.encode_tokens(TEXTS)
        assert batch.tokens.shape[2] == teacher.dim == 128
        assert batch.mask.sum(1).tolist() == [3, 5]
        whole = MultiVectorEncoder(str(colbert), device="cpu").encode_query(TEXTS)
        for row, own in enumerate(whole):
            for token in batch.tokens[row][batch.mask[row]]:
                assert (F.normalize(own.float(), dim=-1) @ token).max() > 1 - 1e-4
        torch.testing.assert_close(batch.pooled.norm(dim=-1), torch.ones(2))

    def test_the_sentence_vector_is_the_mean_of_its_content(self, colbert):
        batch = load_teacher(colbert).encode_tokens(TEXTS)
        mean = torch.stack([batch.tokens[row][batch.mask[row]].mean(0) for row in range(2)])
        torch.testing.assert_close(batch.pooled, F.normalize(mean, dim=-1), atol=1e-5, rtol=0)
