"""``kivuko serve``: a web page and an HTTP API to search an index."""

from pathlib import Path

import click

from kivuko.cli.options import PATH, Share, index_options
from kivuko.cli.output import show, warn


@click.command("serve")
@click.argument("index", type=PATH)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8117, show_default=True, help="0: any free port.")
@click.option(
    "--api-key", envvar="KIVUKO_API_KEY", metavar="KEY", show_envvar=True,
    help="Key required in every request. Set it in the environment, where other users cannot see it.",
)  # fmt: skip
@click.option(
    "--max-upload", type=Share(min=0, min_open=True, max=1024), default=20, show_default=True, metavar="MB",
    help="Largest upload of an image.",
)  # fmt: skip
@click.option(
    "--max-pixels", type=click.IntRange(1, 178_956_970), default=50_000_000, show_default=True,
    help="Largest uploaded image, width times height.",
)  # fmt: skip
@click.option(
    "--timeout", type=Share(min=0.1, max=3600), default=30, show_default=True, metavar="SECONDS",
    help="Time limit of a request.",
)  # fmt: skip
@index_options
def command(
    index: Path,
    model: Path | None,
    host: str,
    port: int,
    api_key: str | None,
    max_upload: float,
    max_pixels: int,
    timeout: float,
    kind: str,
    storage: str,
) -> None:
    """Serve INDEX as a web page and an HTTP API.

    The server listens only on this machine unless --host names another address. After 'kivuko index' has updated the
    index, the server switches to the new state. Stop it with Ctrl-C.

    \b
    Examples:
      kivuko serve emoji.index
      kivuko serve my.index --port 9000 --max-upload 5
      KIVUKO_API_KEY=... kivuko serve my.index --host 0.0.0.0
    """
    import logging

    from kivuko.errors import MissingDependencyError, UsageError

    try:
        from kivuko.serve.app import serve_index
        from kivuko.serve.guard import Settings, is_loopback
    except ModuleNotFoundError as problem:
        if (problem.name or "").startswith("kivuko"):
            raise
        raise MissingDependencyError(
            f"serving needs the package {problem.name}. Run: pip install 'kivuko[serve]'"
        ) from problem
    if api_key is not None and not (api_key := api_key.strip()).isascii():
        raise UsageError("--api-key: a request header cannot hold it; use ASCII characters.")
    settings = Settings(
        host=host, port=port, api_key=api_key or None, max_upload=round(max_upload * 2**20), max_pixels=max_pixels,
        timeout=timeout,
    )  # fmt: skip
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")

    def ready(images: int, address: str) -> None:
        if not is_loopback(host) and settings.api_key is None:
            warn(f"warning: anyone who can connect to {host} can search this index. Set KIVUKO_API_KEY.")
        show(f"{images:,} images at {address}", f"API: {address}docs   stop: Ctrl-C")

    serve_index(index, settings, ready, model=model, kind=kind, storage=storage)
