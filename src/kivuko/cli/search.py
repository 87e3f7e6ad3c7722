"""``kivuko search``: search pictures with a sentence in any trained language."""

from __future__ import annotations

from pathlib import Path

import click

from kivuko.cli.options import sources_options
from kivuko.errors import UsageError


@click.command("search", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("query", nargs=-1, required=True)
@click.option("-k", "--top", type=click.IntRange(1, 100), default=10, show_default=True, help="Number of results.")
@click.option("--image", "picture", type=click.Path(path_type=Path), help="Also write the results as a picture (PNG).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines instead of a table.")
@sources_options
def command(
    model: Path,
    query: tuple[str, ...],
    top: int,
    picture: Path | None,
    as_json: bool,
    cldr: Path | None,
    font: Path | None,
) -> None:
    """Search the emoji gallery with QUERY, in any language that MODEL was trained on.

    \b
    Examples:
      kivuko search kivuko-demo/model "paka mweusi"
      kivuko search kivuko-demo/model काळी मांजर --image out.png
    """
    import json

    from rich.table import Table

    from kivuko.cli.data import load_world
    from kivuko.cli.progress import bars
    from kivuko.cli.progress import out as screen
    from kivuko.encoders.bundle import encode_texts, load_bundle
    from kivuko.gallery import emoji_gallery

    text = " ".join(" ".join(query).split())
    if not text:
        raise UsageError('the query is empty: write a few words, for example "paka mweusi".')
    if picture is not None and picture.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"--image {picture}: end the name in .png, .jpg or .webp.")
    bundle = load_bundle(model)
    world = load_world((), cldr, font)
    with bars() as progress:
        task = None

        def encoded(done: int, total: int) -> None:
            nonlocal task
            task = progress.add_task("encoding pictures", total=total, figures="") if task is None else task
            progress.update(task, completed=done)

        gallery = emoji_gallery(bundle, world, progress=encoded)
    vector = encode_texts(bundle, [text])[0]
    if not vector.any():
        raise UsageError(f"'{text}': no part of it is in the model's vocabulary. Try other words.")
    hits = gallery.search(vector, top)
    if as_json:
        for rank, hit in enumerate(hits, start=1):
            click.echo(
                json.dumps(
                    {"rank": rank, "emoji": hit.sequence, "name": hit.name, "score": round(hit.score, 6)},
                    ensure_ascii=False,
                )
            )
    else:
        table = Table(title=text, title_justify="left")
        table.add_column("", justify="right")
        table.add_column("emoji")
        table.add_column("English name")
        table.add_column("cosine", justify="right")
        for rank, hit in enumerate(hits, start=1):
            table.add_row(str(rank), hit.sequence, hit.name, f"{hit.score:.3f}")
        screen.print(table)
    if picture is not None:
        from kivuko.files import atomic_path
        from kivuko.report.lettering import script_of
        from kivuko.report.picture import ResultRow, results_picture

        row = ResultRow(text, "", script_of(text), "", [world.picture(hit.image) for hit in hits])
        with atomic_path(picture) as temporary:
            results_picture([row], "").save(
                temporary, format="JPEG" if "jp" in picture.suffix.lower() else picture.suffix[1:].upper()
            )
        if not as_json:
            screen.print(f"picture: {picture}", soft_wrap=True)
