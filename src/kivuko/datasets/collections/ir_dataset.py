"""Collections of ``ir_datasets``, by id: mMARCO, CLIRMatrix, NeuCLIR, HC4 and all the others that it knows.

The library keeps its downloads in its own folder (``~/.ir_datasets``, or ``$IR_DATASETS_HOME``).
"""

import contextlib
import difflib
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kivuko.datasets.collections.collection import UNDETERMINED, Document, Judgments
from kivuko.errors import DataError, KivukoError, MissingDependencyError, UsageError, first_line
from kivuko.languages import known_code


class IrDataset:
    """One dataset of ``ir_datasets`` with documents, queries and judgments, see ``open_ir_dataset``."""

    def __init__(self, name: str, dataset: Any) -> None:
        self.name, self._dataset = name, dataset

    @property
    def spec(self) -> str:
        return f"ir:{self.name}"

    @property
    def query_languages(self) -> tuple[str, ...]:
        return (known_code(self._dataset.queries_lang() or "") or UNDETERMINED,)

    @property
    def document_language(self) -> str:
        return known_code(self._dataset.docs_lang() or "") or UNDETERMINED

    def queries(self, language: str) -> dict[str, str]:
        if language not in self.query_languages:
            raise UsageError(f"{self.spec}: its queries are in {', '.join(self.query_languages)}, not {language}")
        with _one_line(self.spec):
            return {str(query.query_id): _text(query) for query in self._dataset.queries_iter()}

    def documents(self) -> Iterator[Document]:
        with _one_line(self.spec):
            for document in self._dataset.docs_iter():
                title, text = getattr(document, "title", None), getattr(document, "text", None)
                if isinstance(title, str) and isinstance(text, str):
                    yield Document(str(document.doc_id), text, title)
                else:
                    yield Document(str(document.doc_id), _text(document))

    def document_count(self) -> int | None:
        with contextlib.suppress(Exception):  # an estimate for a bar; the documents themselves say what is wrong
            return int(self._dataset.docs_count())
        return None

    def judgments(self) -> Judgments:
        judgments: dict[str, dict[str, int]] = {}
        with _one_line(self.spec):
            for qrel in self._dataset.qrels_iter():
                judgments.setdefault(str(qrel.query_id), {})[str(qrel.doc_id)] = int(qrel.relevance)
        return judgments

    def files(self) -> tuple[Path, ...]:
        return ()


def open_ir_dataset(name: str) -> IrDataset:
    """Open a dataset by its id, such as ``mmarco/v2/fr/dev/small`` or ``clirmatrix/sw/bi139-base/en/test1``."""
    try:
        import ir_datasets
    except ImportError as problem:
        raise MissingDependencyError(f"ir:{name}: needs ir_datasets. Run: pip install 'kivuko[data]'") from problem
    dataset = None
    with _one_line(f"ir:{name}"), contextlib.suppress(KeyError):
        dataset = ir_datasets.load(name)
    if dataset is None:
        known = [one for one in ir_datasets.registry if isinstance(one, str)]
        below = sorted(one for one in known if one.startswith(f"{name}/"))[:3]
        close = below or difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(close)}?" if close else "https://ir-datasets.com lists them."
        raise UsageError(f"ir:{name}: ir_datasets has no such id; {hint}")
    for part, what in (("docs", "documents"), ("queries", "queries"), ("qrels", "judgments")):
        if not getattr(dataset, f"has_{part}")():
            known = [one for one in ir_datasets.registry if one.startswith(f"{name}/")]
            hint = f"try {', '.join(sorted(known)[:3])}" if known else "choose one that has"
            raise DataError(f"ir:{name}: has no {what}; {hint}")
    return IrDataset(name, dataset)


def _text(item: Any) -> str:
    return " ".join(str(item.default_text()).split())


@contextlib.contextmanager
def _one_line(spec: str) -> Iterator[None]:
    """Turn errors of the library (a missing license, no network, a damaged download) into one line."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except (KivukoError, GeneratorExit, KeyboardInterrupt):
        raise
    except BaseException as problem:  # its own kinds, those of requests, SystemExit where a license is declined
        if isinstance(problem, SystemExit) and problem.code == 128 + signal.SIGTERM:
            raise  # the user ended it
        reason = first_line(problem)
        raise DataError(
            f"{spec}: ir_datasets cannot read it ({reason}). Check the network, or put the files where "
            f"it wants them: https://ir-datasets.com/{spec.removeprefix('ir:').split('/')[0]}"
        ) from problem
    finally:
        logging.disable(level)
