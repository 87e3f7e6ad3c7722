"""A file that is one JSON value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kivuko.datasets.collections.streams import byte_stream
from kivuko.errors import DataError, at

MAX_BYTES = 2 << 30  # COCO's largest file of captions has 90 MB; in memory, ten times a file's size


def read_json(path: Path) -> Any:
    """Read a file of JSON in UTF-8, compressed or not.

    Raises:
        DataError: it cannot be read, is over 2 GiB, or is not JSON; names the line.
    """
    with byte_stream(path) as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"{path}: over {MAX_BYTES >> 30} GiB of JSON; give one object per line (.jsonl) instead")
    try:
        return json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as problem:
        raise DataError(f"{at(path, problem.lineno)}: not JSON ({problem.msg}); fetch the file again") from problem
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise DataError(f"{at(path, line)}: not UTF-8; convert the file, or fetch it again") from problem
    except (ValueError, RecursionError) as problem:  # numbers of thousands of digits, thousands of brackets
        raise DataError(f"{path}: JSON that cannot be read ({problem}); fetch the file again") from problem
