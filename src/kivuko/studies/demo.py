"""The demo: the whole route on the emoji world, from sentence pairs to a searchable model with figures."""

import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from PIL import Image

from kivuko.bitext.dictionary import PREFIX, dictionaries_of
from kivuko.bitext.pairs import NO_PAIRS, Bitext, concatenate
from kivuko.bitext.reading import read_bitext
from kivuko.datasets.emoji.phrases import read_phrases
from kivuko.datasets.emoji.sources import shipped_image_tower
from kivuko.datasets.emoji.world import EmojiWorld, emoji_world
from kivuko.encoders.image_tower import load_image_tower
from kivuko.encoders.learning_curve import CURVE_IMAGE
from kivuko.encoders.model import About, Model, encode_texts, load_encoder, quiet, refuse_foreign_folder
from kivuko.encoders.model_card import model_card
from kivuko.encoders.teacher import load_teacher
from kivuko.encoders.word_reader import word_encoder
from kivuko.errors import UsageError
from kivuko.evaluation.evaluator import measure_systems, model_system, teacher_system, untrained_system
from kivuko.evaluation.image_tasks import EmojiTask, PhraseTask
from kivuko.evaluation.records import Header, Record, save_results
from kivuko.files import atomic_path, refuse_unwritable, write_text
from kivuko.languages import DEFAULT_LANGUAGES, language
from kivuko.progress import TrainingProgress, bars, note, progress_bar
from kivuko.report.result_image import ResultRow, results_image
from kivuko.search.building import emoji_index, emoji_vectors
from kivuko.search.image_index import ImageIndex
from kivuko.training.recipe import Recipe, load_recipe
from kivuko.training.student_training import WITH_ENCODER, Job, distill_to_folder, split_student

RECIPES = ("optical-words", "mse")  # the first is the model, the second what it is compared with
DICTIONARIES = "/usr/share/dictd"  # Debian's, unless $KIVUKO_DICTIONARIES names another folder
# Test emoji whose names a person can check at a glance; each is queried in another language.
SHOWN = 7


class DemoFiles(NamedTuple):
    """The files of the demo's results."""

    model: Path
    baseline: Path
    records: Path
    image: Path
    search_index: Path  # the closing lines propose it; the demo builds none

    @classmethod
    def below(cls, out: Path) -> Self:
        names = ("model", "baseline-mse", "records.jsonl", "examples.png", "emoji.index")
        return cls(*(out / name for name in names))


def emoji_job(
    world: EmojiWorld,
    languages: Sequence[str],
    recipe: str | Recipe,
    seed: int = 0,
    steps: int | None = None,
    dictionary: Bitext = NO_PAIRS,
    student: str = "static",
) -> Job:
    """Return the job of distilling the emoji world's training split into ``languages``; ``recipe`` may be a name."""
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    return Job(
        bitext=world.bitext(languages, "train"),
        held_out=world.bitext(languages, "validation", keywords=False),
        recipe=chosen.with_schedule(steps=steps) if steps else chosen,
        seed=seed,
        distractors=training_names(world),
        dictionary=dictionary if chosen.start.words else NO_PAIRS,
        student=student if chosen.start.words else "static",
    )


def installed_dictionaries(languages: Sequence[str]) -> Bitext:
    """Read the dictionaries of languages and English that are installed, such as Debian's dict-freedict-swh-eng."""
    folder = Path(os.environ.get("KIVUKO_DICTIONARIES", DICTIONARIES))
    if importlib.util.find_spec("pyglossary") is None:
        return NO_PAIRS
    codes = [code for code in languages if dictionaries_of(folder, code)]
    if codes:
        note(f"· dictionaries of {', '.join(codes)} in {folder}")
    return concatenate(read_bitext(f"{PREFIX}{folder}", code) for code in codes)


def training_names(world: EmojiWorld) -> tuple[str, ...]:
    """Return the English names of training emoji, which make the selection as hard as the evaluation."""
    english = world.annotations["en"]
    return tuple(dict.fromkeys(english[one.sequence].name for one in world.emoji if one.split == "train"))


def run_demo(
    out: Path | str = "kivuko-demo",
    languages: Sequence[str] = DEFAULT_LANGUAGES,
    *,
    student: str = "static",
    seed: int = 0,
    steps: int | None = None,
    progress: bool | None = None,
    command: str | None = None,
    cldr: Path | None = None,
    font: Path | None = None,
    ready: Callable[[EmojiWorld], None] = lambda world: None,  # called before the training
) -> tuple[EmojiWorld, list[Record]]:
    """Distill, evaluate and draw into a folder; finished parts of an earlier run are reused.

    ``student``: "static", or "static+ENCODER" for the first model.
    """
    if student != "static" and not student.startswith(WITH_ENCODER):
        raise UsageError(f"--student {student}: the demo takes static, or {WITH_ENCODER}multilingual-e5-small.")
    if encoder := split_student(student, load_recipe(RECIPES[0]))[1]:
        word_encoder(encoder)
    files = DemoFiles.below(Path(out))
    for place in (files.model, files.baseline):
        refuse_foreign_folder(place)
    for file in (files.records, files.image):
        refuse_unwritable(file)
    with progress_bar("drawing emoji", progress) as report:
        world = emoji_world(languages, cldr=cldr, font=font, progress=report)
    ready(world)
    with quiet():
        teacher = load_teacher()
        tower = load_image_tower(shipped_image_tower(), teacher.dim)
    places = dict(zip(RECIPES, (files.model, files.baseline), strict=True))
    abouts: dict[str, About] = {}
    dictionary = installed_dictionaries(languages)
    with bars(progress) as display:
        for name, place in places.items():
            note(f"· distilling with recipe '{name}' into {len(languages)} languages")
            job = emoji_job(world, languages, name, seed, steps, dictionary, student)
            watch = TrainingProgress(display, name, job.recipe.schedule.batch_size)
            abouts[name], trained = distill_to_folder(job, teacher, tower, place, watch)
            if not trained:
                note(f"· {place} is already there from an earlier run of the same job; reused")
    note("· searching all images with every test query")
    model = load_encoder(files.model)
    models = {
        name: Model(load_encoder(place), place.name, str(place), place, abouts[name]) for name, place in places.items()
    }
    images = emoji_vectors(model, world)
    task, phrases = EmojiTask(world, images), PhraseTask(read_phrases().drawn(world), world, images)
    systems = [teacher_system(teacher), untrained_system(models[RECIPES[0]]), *map(model_system, models.values())]
    of_names, per_query = measure_systems(task, systems, languages)
    records, protocol = of_names, task.protocol(languages)
    if codes := [code for code in languages if code in phrases.phrases.languages]:
        note("· searching all images with everyday phrases")
        of_phrases, more = measure_systems(phrases, systems, codes)
        records, per_query = of_names + of_phrases, per_query + more
        own = phrases.protocol(codes)
        protocol[phrases.dataset] = {key: value for key, value in own.items() if protocol.get(key) != value}
    seeds = sorted({about.seed for about in abouts.values()})
    command = command or shlex.join(["kivuko", *sys.argv[1:]])
    header = Header(command=command, protocol=protocol, seeds=seeds)
    save_results(files.records, header, records, per_query)
    for name, place in places.items():
        about, has_curve = load_recipe(name).description, (place / CURVE_IMAGE).is_file()
        write_text(place / "README.md", model_card(abouts[name], of_names, about, has_curve=has_curve))
    with atomic_path(files.image) as temporary, emoji_index(model, world) as index:
        examples_image(model, world, index, languages).save(temporary, format="PNG")
    return world, records


def examples_image(
    model: Any, world: EmojiWorld, index: ImageIndex, languages: Sequence[str], columns: int = 7
) -> Image.Image:
    """Draw one test query per row, languages in turn, chosen by position and not by its result."""
    rows = []
    for number in range(max(SHOWN, len(languages))):
        code = languages[number % len(languages)]
        queries = [query for query in world.queries(code, "test") if query.compositional and not query.copied]
        if not queries:
            continue
        query = queries[(37 * (number + 1)) % len(queries)]
        nearest = [hit.item.id - 1 for hit in index.search(encode_texts(model, [query.text]), columns)[0]]
        about = language(code)
        right = next((place for place, image in enumerate(nearest) if image == query.image), None)
        images = [world.image(image) for image in nearest]
        rows.append(ResultRow(query.text, about.name, about.script, query.english, images, right))
    caption = (
        "Test queries whose English words occur in training, at a fixed stride. "
        f"Green frame: the wanted image; no frame: it is not among the first {columns}."
    )
    return results_image(rows, "Nearest images for queries in languages that the teacher was not made for", caption)
