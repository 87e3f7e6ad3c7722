"""``kivuko evaluate --dataset emoji``: the emoji world, with the model card brought up to date."""

from __future__ import annotations

from pathlib import Path

from kivuko.text import pluralize


def evaluate_emoji(
    model: Path,
    languages: tuple[str, ...],
    split: str,
    records_file: Path | None,
    cldr: Path | None,
    font: Path | None,
    command: str,
) -> None:
    """Measure a loaded on the emoji world, write records and the model card, print tables.

    Args:
        command: the command line, for the records' header.

    Raises:
        ModelError: the model is none of Kivuko's, or encodes text only.
    """
    from kivuko.cli.data import load_world
    from kivuko.cli.progress import bars, console
    from kivuko.cli.progress import out as screen
    from kivuko.encoders.loading import fastest_device
    from kivuko.encoders.model import has_images, load_encoder, quiet, read_about
    from kivuko.encoders.teacher import teacher_of
    from kivuko.errors import ModelError
    from kivuko.evaluation import write_records
    from kivuko.evaluation.emoji_task import Results
    from kivuko.evaluation.tables import ceiling_line, comparison_table, no_better_line, results_table
    from kivuko.files import refuse_unwritable, write_text
    from kivuko.report.model_card import model_card
    from kivuko.search import emoji_gallery
    from kivuko.training.recipe import load_recipe, shipped_recipes

    loaded, about = load_encoder(model).to(fastest_device()), read_about(model)
    if about is None:
        raise ModelError(f"{model}: has no kivuko.json, so its teacher is unknown. Evaluate a model made by Kivuko.")
    if not has_images(loaded):
        raise ModelError(f"{model}: encodes text only, so it cannot search images. Distill it with an image tower.")
    refuse_unwritable(place := records_file or model / "evaluation" / "records.jsonl")
    if unknown := [code for code in languages if code not in about.languages]:
        console.print(f"note: {model} was not trained on {', '.join(unknown)}.")
    world = load_world(languages, cldr, font)
    with quiet():
        teacher = teacher_of(about)
    with bars() as progress:
        task = progress.add_task("encoding images", total=len(world.images), figures="")
        gallery = emoji_gallery(loaded, world, progress=lambda done, _total: progress.update(task, completed=done))
        progress.update(task, completed=len(world.images))
        results = Results(gallery, languages, split)
        steps = progress.add_task("scoring", total=3, figures="")
        results.add_teacher(teacher)
        progress.update(steps, completed=1)
        results.add_untrained(loaded, about.student)
        progress.update(steps, completed=2)
        results.add_model(loaded, model.name, about)
        progress.update(steps, completed=3)
    write_records(place, results.header(command), results.records, results.per_query)
    if split == "test":
        chosen = load_recipe(about.recipe).description if about.recipe in shipped_recipes() else ""
        write_text(model / "README.md", model_card(about, results.records, chosen))
    for subset in ("headline", "compositional", "lexical"):
        screen.print(results_table(results.records, about.recipe, subset))
    screen.print(comparison_table(results.records))
    if line := ceiling_line(results.records):
        screen.print(line)
    if line := no_better_line(results.records, about.recipe):
        screen.print(line, soft_wrap=True)
    screen.print(f"{pluralize(len(results.records), 'record')}: {place}", soft_wrap=True)
