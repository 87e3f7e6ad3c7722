"""Small Wikipedia dumps in the formats that Wikimedia and its kin write."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_HEAD = """-- MariaDB dump 10.19  Distrib 10.5.23-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: db1    Database: {wiki}
-- ------------------------------------------------------
/*!40101 SET NAMES utf8mb4 */;

DROP TABLE IF EXISTS `{table}`;
/*!40101 SET character_set_client = utf8 */;
CREATE TABLE `{table}` (
{columns},
  PRIMARY KEY (`{first}`),
  KEY `some_key` (`{first}`)
) ENGINE=InnoDB DEFAULT CHARSET=binary;
/*!40101 SET character_set_client = @saved_cs_client */;

/*!40000 ALTER TABLE `{table}` DISABLE KEYS */;
"""
_TAIL = """/*!40000 ALTER TABLE `{table}` ENABLE KEYS */;
/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;

-- Dump completed on 2024-10-01  3:00:00
"""

LANGLINKS = ("ll_from", "ll_lang", "ll_title")
PAGE = ("page_id", "page_namespace", "page_title", "page_is_redirect", "page_is_new", "page_random", "page_touched",
        "page_links_updated", "page_latest", "page_len", "page_content_model", "page_lang")  # fmt: skip
REDIRECT = ("rd_from", "rd_namespace", "rd_title", "rd_interwiki", "rd_fragment")
LINKTARGET = ("lt_id", "lt_namespace", "lt_title")
PAGELINKS = ("pl_from", "pl_from_namespace", "pl_target_id")
PAGELINKS_BEFORE_2024 = ("pl_from", "pl_namespace", "pl_title", "pl_from_namespace")


def sql_dump(table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], per_statement: int = 3) -> bytes:
    """Return what mysqldump writes of a table."""
    stated = ",\n".join(f"  `{column}` varbinary(255) NOT NULL DEFAULT ''" for column in columns)
    text = _HEAD.format(wiki="enwiki", table=table, columns=stated, first=columns[0])
    for start in range(0, len(rows), per_statement):
        values = ",".join("(" + ",".join(map(_quoted, row)) + ")" for row in rows[start : start + per_statement])
        text += f"INSERT INTO `{table}` VALUES {values};\n"
    return (text + _TAIL.format(table=table)).encode()


def page_row(number: int, title: str, namespace: int = 0, redirect: int = 0) -> tuple[object, ...]:
    """Return a row of the page table."""
    touched = "20240901000000"
    return (number, namespace, title.replace(" ", "_"), redirect, 0, 0.25, touched, None, 9, 120, "wikitext", None)


def xml_dump(pages: Sequence[tuple[int, str, str]], redirects: Sequence[tuple[int, str, str]] = ()) -> bytes:
    """Return an export of MediaWiki's: (id, title, wikitext) and (id, title, title that it leads to)."""
    result = [
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">\n'
        "  <siteinfo>\n    <sitename>Wikipedia</sitename>\n    <dbname>enwiki</dbname>\n    <namespaces>\n"
        '      <namespace key="0" case="first-letter" />\n    </namespaces>\n  </siteinfo>\n'
    ]
    result.append(_page(9001, "Talk:Cat", 1, "Nothing that counts."))
    result += [_page(number, title, 0, text) for number, title, text in pages]
    result += [_page(number, title, 0, f"#REDIRECT [[{target}]]", target) for number, title, target in redirects]
    return ("".join(result) + "</mediawiki>\n").encode()


def wikiextractor(pages: Sequence[tuple[int, str, str]]) -> bytes:
    """Return JSON lines as WikiExtractor writes them: the text begins with the title."""
    rows = (
        {"id": str(number), "url": f"https://sw.wikipedia.org/wiki?curid={number}", "title": title,
         "text": f"{title}\n\n{text}"}
        for number, title, text in pages
    )  # fmt: skip
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def cirrus(pages: Sequence[tuple[int, str, str]]) -> bytes:
    """Return a CirrusSearch dump: the id on one line, the article on the next."""
    result = []
    for number, title, text in pages:
        result.append(json.dumps({"index": {"_type": "_doc", "_id": str(number)}}))
        result.append(json.dumps({"namespace": 0, "title": title, "text": text, "opening_text": text.split("\n")[0],
                                 "redirect": []}, ensure_ascii=False))  # fmt: skip
    return ("\n".join(result) + "\n").encode()


def write(path: Path, content: bytes) -> Path:
    """Write a file, compressed as its name says."""
    packed = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)(content)
    path.write_bytes(packed)
    return path


def _page(number: int, title: str, namespace: int, text: str, redirect: str | None = None) -> str:
    leads = f'    <redirect title="{escape(redirect)}" />\n' if redirect else ""
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{namespace}</ns>\n    <id>{number}</id>\n{leads}"
        f"    <revision>\n      <id>{number + 70000}</id>\n      <contributor>\n        <username>A</username>\n"
        f"        <id>12</id>\n      </contributor>\n      <model>wikitext</model>\n"
        f'      <text bytes="{len(text)}" xml:space="preserve">{escape(text)}</text>\n    </revision>\n  </page>\n'
    )


def _quoted(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, (int, float)):
        return str(value)
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace('"', '\\"') + "'"
