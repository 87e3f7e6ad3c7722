"""The documentation: its Python examples run, and teach nothing but the public names."""

import re
from pathlib import Path

import pytest

import kivuko

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?P<mark><!-- not run[^>]+-->\n+)?```python\n(?P<code>.*?)```", re.DOTALL)


def examples(page):
    """Return the examples of a page as one program, without those marked as not to be run."""
    blocks = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return "\n".join(block["code"] for block in blocks if not block["mark"])


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.stem)
def test_examples_run(page, example_folder):
    exec(compile(examples(page), page.name, "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_only_public_names_are_taught(page):
    code = "\n".join(block["code"] for block in BLOCK.finditer(page.read_text(encoding="utf-8")))
    modules = set(re.findall(r"(?:from|import) (kivuko\.[\w.]+)", code))
    assert modules <= {"kivuko.losses"}, modules
    names = set(re.findall(r"\bkivuko\.([A-Za-z_]\w*)", code))
    names |= {name.strip() for line in re.findall(r"from kivuko import (.+)", code) for name in line.split(",")}
    assert names <= {*kivuko.__all__, "losses"}, names - set(kivuko.__all__)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
