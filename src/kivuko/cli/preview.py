"""Images in the terminal, with the protocols of kitty and iTerm2 or as colored half blocks."""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kivuko.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

KITTY, ITERM, BLOCKS = "kitty", "iterm2", "blocks"
_CELL = (10, 20)  # pixels of a character, about
_THUMBNAIL = (14, 7)  # characters that one image takes
_CHUNK = 4096  # most bytes of one command of kitty's protocol


def protocol(environment: Mapping[str, str], color_system: str | None) -> str | None:
    """Return the image protocol of a terminal, None if it has none; tmux and screen show only half blocks."""
    program, terminal = environment.get("TERM_PROGRAM", ""), environment.get("TERM", "")
    if not (environment.get("TMUX") or terminal.startswith(("screen", "tmux"))):
        if environment.get("KITTY_WINDOW_ID") or terminal in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
            return KITTY
        if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
            return ITERM
    return BLOCKS if color_system in ("truecolor", "256") else None


def way_to_show(wanted: bool | None) -> str | None:
    """Return the protocol of this terminal; UsageError if there is none but images are ``wanted``."""
    from kivuko.progress import out as screen

    how = protocol(os.environ, screen.color_system) if screen.is_terminal else None
    if how is None and wanted:
        raise UsageError("--preview: this terminal cannot show images. Use --save results.png instead.")
    return how


def show_images(images: Sequence[Image.Image], wanted: bool | None) -> None:
    """Show images side by side, best first; ``wanted``: None shows them if the terminal can."""
    from kivuko.progress import out as screen

    if wanted is False or not images or (how := way_to_show(wanted)) is None:
        return
    columns = max(1, screen.width // _THUMBNAIL[0])
    for start in range(0, len(images), columns):
        row = images[start : start + columns]
        for line in rendered(contact_sheet(row, how), how, len(row) * _THUMBNAIL[0]):
            sys.stdout.write(line)
        labels = "".join(f"{number:^{_THUMBNAIL[0]}}" for number in range(start + 1, start + len(row) + 1))
        sys.stdout.write(f"{labels.rstrip()}\n")
    sys.stdout.flush()


def contact_sheet(images: Sequence[Image.Image], how: str) -> Image.Image:
    """Return images in one row, each in its cell; for half blocks, one pixel for each half of a character."""
    from PIL import Image, ImageOps

    across, down = _THUMBNAIL
    width, height = (across, 2 * down) if how == BLOCKS else (across * _CELL[0], down * _CELL[1])
    gap = 1 if how == BLOCKS else 6
    sheet = Image.new("RGB", (width * len(images), height), "black" if how == BLOCKS else "white")
    for number, image in enumerate(images):
        small = ImageOps.contain(image.convert("RGB"), (width - gap, height - gap))
        place = number * width + (width - small.width) // 2, (height - small.height) // 2
        sheet.paste(small, place)
    return sheet


def rendered(sheet: Image.Image, how: str, columns: int) -> Iterator[str]:
    """Yield the text that shows an image across a number of columns, with a line break at the end."""
    if how == BLOCKS:
        yield from _half_blocks(sheet)
        return
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    content = base64.standard_b64encode(stream.getvalue()).decode()
    if how == ITERM:
        size = f"size={len(stream.getvalue())};width={columns};height={_THUMBNAIL[1]}"
        yield f"\033]1337;File=inline=1;{size}:{content}\a\n"
        return
    parts = [content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK)]
    for number, part in enumerate(parts):
        more = int(number < len(parts) - 1)
        options = f"a=T,f=100,q=2,c={columns},r={_THUMBNAIL[1]},m={more}" if number == 0 else f"m={more}"
        yield f"\033_G{options};{part}\033\\"
    yield "\n"


def _half_blocks(sheet: Image.Image) -> Iterator[str]:
    """Yield lines of upper half blocks: two pixels per character, as its foreground and background color."""
    pixels = sheet.convert("RGB").load()
    assert pixels is not None
    for top in range(0, sheet.height, 2):
        cells = []
        for x in range(sheet.width):
            upper, lower = pixels[x, top], pixels[x, min(top + 1, sheet.height - 1)]
            cells.append("\033[38;2;{};{};{}m\033[48;2;{};{};{}m▀".format(*upper, *lower))  # type: ignore[misc]
        yield "".join(cells) + "\033[0m\n"
