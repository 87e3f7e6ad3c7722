"""The model card: the training of a model, and the figures of its evaluation."""

from collections.abc import Sequence
from typing import Any

from kivuko.encoders.learning_curve import CURVE_IMAGE
from kivuko.encoders.model import About
from kivuko.languages import language

_PARITY = "parity"

_LICENCES = """\
| part | license |
|---|---|
| this student's weights | yours to choose; they derive from your bitext and from the teacher's vectors |
| all-MiniLM-L6-v2 (teacher, where it was used) | Apache-2.0 |
| CLDR annotations (emoji bitext, where it was used) | Unicode License v3 |
| Noto Color Emoji (images of the image tower's training, where it was used) | SIL Open Font License 1.1 |
| dictionaries (word table, where they were used) | their own: FreeDict GPL or Creative Commons, Wiktionary CC BY-SA |
| Kivuko | Apache-2.0 |
"""


def model_card(
    about: About, records: Sequence[Any] = (), recipe_description: str = "", *, has_curve: bool = False
) -> str:
    """Return the card as Markdown with a YAML head; without records it says that nothing was measured.

    ``has_curve``: the model's folder holds ``CURVE_IMAGE``.
    """
    curve = [f"![Learning curve: loss of training and score on held-out pairs, by step]({CURVE_IMAGE})", ""]
    rows = [
        f"| {code} | {language(code).name} | {size:,} | {about.fertility.get(code, float('nan')):.2f} |"
        for code, size in about.bitext_sizes.items()
    ]
    return "\n".join(
        [
            _head(about),
            f"# {about.recipe} student of {about.teacher}",
            "",
            "Text in the languages below and images are encoded into one space, the teacher's. Made with "
            f"Kivuko {about.kivuko} from parallel sentences{' and dictionaries' if about.dictionaries else ' alone'}.",
            "",
            "```python",
            "from PIL import Image",
            "from sentence_transformers import SentenceTransformer",
            "",
            'model = SentenceTransformer("path/to/this/folder")',
            'texts = model.encode(["paka mweusi"])',
            'images = model.encode([Image.open("image.png")])',
            "print(model.similarity(texts, images))",
            "```",
            "",
            "## Training",
            "",
            f"- Recipe: `{about.recipe}`" + (f" ({recipe_description})" if recipe_description else ""),
            f"- Student: {about.described_student}; seed {about.seed}"
            + (f"; trained in {about.precision}" if about.precision else ""),
            *_dictionaries(about),
            f"- Selected on held-out pairs: step {about.best_step}, text-to-text MRR {about.validation_score:.3f}",
            "",
            *(curve if has_curve else []),
            "| code | language | training pairs | fertility (subwords per word) |",
            "|---|---|---|---|",
            *rows,
            "",
            "## Figures",
            "",
            *_figures(about, records),
            "",
            "## Limits",
            "",
            "- A student knows the words of its bitext and dictionaries; others are less sure. English is",
            "  not one of its languages unless the bitext held it: put English queries to the teacher.",
            "- If `spelling.json` is in this folder, Kivuko reads misspelled words by it; with",
            "  `word_reader.safetensors`, unknown words by the encoder that it names. The Python example above uses",
            "  neither, so its results may be worse than the figures in this card.",
            "- Where the image side is Kivuko's emoji tower, it knows emoji and no photographs.",
            "",
            "## Licenses",
            "",
            _licenses(about),
        ]
    )


def _dictionaries(about: About) -> list[str]:
    entries = ", ".join(f"{code} {number:,}" for code, number in about.dictionaries.items())
    return (
        [f"- Word vectors from dictionaries too (entries: {entries}), whose license may extend to them"]
        if entries
        else []
    )


def _licenses(about: About) -> str:
    first, _, license_name = about.weights.partition("; license ")
    return _LICENCES + (f"| {about.student} ({first}) | {license_name} |\n" if license_name else "")


def _head(about: About) -> str:
    codes = "\n".join(f"- {code}" for code in about.languages)
    return (
        f"---\nlanguage:\n{codes}\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n"
        "tags:\n- kivuko\n- multilingual\n- optimal-transport\n- distillation\n---\n"
    )


def _figures(about: About, records: Sequence[Any]) -> list[str]:
    own = [record for record in records if record.objective == about.recipe and record.attack is None]
    figures = {(record.language, record.subset, record.measure): record for record in own}
    codes = [*about.languages, "low-resource", "high-resource"]
    if not any((code, "headline", "MAP") in figures for code in codes):
        return ["Not measured yet: run `kivuko evaluate` on this folder."]
    lines = [
        f"Text to image on `{own[0].dataset}`, {own[0].split} queries, those equal to the English name left out; "
        "95 % bootstrap intervals over concepts. Parity is MAP over the English teacher's MAP.",
        "",
        "| language | queries | MAP | R@1 | R@10 | parity | MAP, seen words only | MAP, with unseen words |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for code in codes:
        record = figures.get((code, "headline", "MAP"))
        if record is None:
            continue
        rest = [figures.get((code, "headline", measure)) for measure in ("R@1", "R@10", _PARITY)]
        rest += [figures.get((code, subset, "MAP")) for subset in ("compositional", "lexical")]
        cells = " | ".join("–" if one is None else f"{one.value:.3f}" for one in rest)
        interval = f"{record.value:.3f} [{record.low:.3f}, {record.high:.3f}]"
        lines.append(f"| {code} | {record.queries:,} | {interval} | {cells} |")
    return lines
