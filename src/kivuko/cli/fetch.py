"""``kivuko data fetch``: image-caption sets from where they are published, where the network allows."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("fetch", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the set.  [default: data/NAME]")
@click.option("--no-images", is_flag=True, help="Captions alone, without gigabytes of images.")
@click.option("--checksums", type=click.Path(path_type=Path), help="A list of sha256sum that the files must fit.")
def fetch(name: str, out: Path | None, no_images: bool, checksums: Path | None) -> None:
    """Fetch the image-caption set NAME: xm3600, xtd, xflickrco, wit or multi30k.

    A fetch that was cut goes on where it was. What came is listed in SHA256SUMS; later fetches must get the same.

    \b
    Example:
      kivuko data fetch xm3600 --out data/xm3600
      kivuko evaluate my-model --dataset xm3600:data/xm3600
    """
    from kivuko.cli.progress import bars, late_task
    from kivuko.cli.progress import out as screen
    from kivuko.datasets.captions.download import CHECKSUMS, remote_set
    from kivuko.datasets.captions.download import fetch as fetch_set

    remote = remote_set(name)
    folder = out or Path("data") / name
    with bars() as progress:
        tasks: dict[str, object] = {}

        def watch(file: str, done: int, total: int | None) -> None:
            tell = tasks.setdefault(file, late_task(progress, file))
            tell(done, total or done)  # type: ignore[operator]

        done = fetch_set(remote, folder, images=not no_images, checksums=checksums, watch=watch)
    screen.print(
        f"{folder}: {len(done.fetched):,} files fetched, {len(done.kept):,} were there. Checksums: {CHECKSUMS} in it",
        soft_wrap=True,
    )
    screen.print(f"License: {remote.license}.", soft_wrap=True)
    if remote.also:
        screen.print(f"Not fetched: {remote.also}.", soft_wrap=True)
