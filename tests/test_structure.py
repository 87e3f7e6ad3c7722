"""The structure of the package: what may import what, and what importing it costs."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import kivuko

SOURCE = Path(kivuko.__file__).parent
FLOORS = (
    {"errors", "files", "fonts", "languages", "plugins", "processes", "progress", "ranks", "streams", "text", "vectors"}
    | {"transport", "bitext"},
    {"encoders", "datasets"},
    {"losses", "perturbations"},
    {"training", "translation", "search"},
    {"evaluation"},
    {"studies", "report"},
    {"doctor", "serve"},
    {"cli"},
)  # from the lowest to the highest
MODULES = {
    ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix("__init__").rstrip("."): file
    for file in SOURCE.rglob("*.py")
}


def imports(file):
    """Yield (module, whether it is imported when the file is) for the imports of Kivuko's own modules in a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "kivuko":
            base = node.module.partition(".")[2]
            for name in node.names:
                inner = f"{base}.{name.name}".lstrip(".")
                yield inner if inner in MODULES else base, node in tree.body


def floor(module):
    """Return the number of the floor that a module is on."""
    return next(number for number, packages in enumerate(FLOORS) if module.partition(".")[0] in packages)


def test_a_package_imports_only_from_its_own_floor_and_those_below():
    upward = [
        f"{module} imports {name}"
        for module, file in MODULES.items()
        if module not in ("", "__main__")
        for name, _ in imports(file)
        if name and floor(name) > floor(module)
    ]
    assert not upward, upward


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: {name for name, at_once in imports(file) if at_once} for module, file in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_importing_kivuko_is_cheap_and_lists_the_public_names():
    code = "import sys, kivuko; print(kivuko.__all__); assert not {'torch', 'numpy', 'click'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    calls = {"distill", "load_model", "evaluate", "attack", "compare", "harden", "build_index", "Searcher", "align",
             "solve", "read_bitext", "write_report", "losses", "KivukoError", "__version__"}  # fmt: skip
    types = {
        "Alignment",
        "AttackReport",
        "Bitext",
        "Comparison",
        "Evaluation",
        "Hit",
        "ImageIndex",
        "Model",
        "Pair",
        "Plan",
    }
    assert set(ast.literal_eval(done.stdout)) == calls | types


def test_every_public_name_exists_and_is_documented():
    for name in kivuko.__all__:
        assert name == "__version__" or getattr(kivuko, name).__doc__, name


def test_calls_have_an_example_and_name_their_errors():
    for name in ("distill", "load_model", "evaluate", "attack", "compare", "harden", "build_index", "Searcher", "align",
                 "solve", "read_bitext", "write_report"):  # fmt: skip
        text = getattr(kivuko, name).__doc__
        assert ">>>" in text, name
        assert "Raises:" in text or name == "Searcher", name
