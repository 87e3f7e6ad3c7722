"""Whether a bitext can be trained on as it stands, why, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kivuko.bitext import reasons
from kivuko.bitext.leak import LeakReport
from kivuko.bitext.sifting_account import Account

Level = Literal["usable", "with care", "not usable"]
_LEVELS: tuple[Level, ...] = ("usable", "with care", "not usable")

FEW, TOO_FEW = 1000, 100  # pairs: below the first a student learns little beyond the words they hold
_LITTLE_KEPT, _HARDLY_KEPT = 0.8, 0.3  # shares of all that was read
_NOTABLE, _MOST = 0.05, 0.5  # shares that one reason takes
_LEAKS_MATTER = 0.01  # share of the captions above which figures on them cannot be trusted
_LONG = 300  # characters: about what CLIP's text towers read (77 tokens)

# What a reason that takes a notable share most often comes from, and what to do about it.
_REMEDIES = {
    reasons.WRONG_LANGUAGE: "see whether {language} is the right code",
    reasons.WRONG_SCRIPT: "see whether {language} is the right code, or name its script with --script",
    reasons.LENGTH_RATIO: "the sides may have slipped out of step: look at the lines around the first place",
    reasons.UNTRANSLATED_COPY: "much of it was never translated",
    reasons.DUPLICATE: "concatenated corpora overlap, or the file holds itself twice",
    reasons.ONE_SIDE_TOO_OFTEN: "one sentence stands beside many others: a failed alignment, or a template",
    reasons.BROKEN_CHARACTERS: "it was decoded wrongly somewhere: fetch it again, or convert it from its true encoding",
    reasons.EMPTY_SIDE: "the columns may be the wrong ones: name them with --columns",
    "missing column": "the columns may be the wrong ones: name them with --columns",
}


@dataclass
class Verdict:
    """The verdict on a bitext.

    Attributes:
        level: ``usable`` as it stands; ``with care``: after cleaning, or knowing what is said; ``not usable``.
        findings: what speaks against it, the gravest first.
        advice: what to do next, in order.
    """

    level: Level
    findings: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def judge_bitext(account: Account, leaks: LeakReport | None = None) -> Verdict:
    """Judge a bitext by what became of its pairs.

    Args:
        account: of a whole reading, or of its beginning.
        leaks: what evaluation captions were found in it; None if none were looked for.
    """
    found: list[tuple[int, str, str]] = [*_against_size(account), *_against_shares(account), *_against_figures(account)]
    if leaks is not None:
        found += _against_leaks(leaks)
    found.sort(key=lambda finding: -finding[0])
    gravest = found[0][0] if found else 0
    advice = dict.fromkeys(remedy.format(language=account.language) for _, _, remedy in found if remedy)
    return Verdict(_LEVELS[gravest], [text for _, text, _ in found], list(advice))


def _against_size(account: Account) -> list[tuple[int, str, str]]:
    found = []
    kept = account.kept / account.seen if account.seen else 0.0
    if account.kept < FEW:
        grave = 2 if account.kept < TOO_FEW else 1
        pairs = "1 usable pair" if account.kept == 1 else f"{account.kept:,} usable pairs"
        found.append((grave, f"only {pairs}", f"find more bitext: {FEW:,} pairs teach a little"))
    if account.seen and kept < _LITTLE_KEPT:
        grave = 2 if kept < _HARDLY_KEPT else 1
        found.append((grave, f"only {kept:.0%} of what was read is usable", ""))
    return found


def _against_shares(account: Account) -> list[tuple[int, str, str]]:
    found = []
    for reason, count, first in account.by_reason():
        share = account.share(reason)
        if share < _NOTABLE or reason == reasons.IN_CAPTIONS:
            continue
        telling = reason in (reasons.WRONG_LANGUAGE, reasons.WRONG_SCRIPT) and share >= _MOST
        found.append(
            (2 if telling else 1, f"{share:.0%} {reason} ({count:,}; first at {first})", _remedy(account, reason))
        )
    return found


def _remedy(account: Account, reason: str) -> str:
    if reason == reasons.WRONG_LANGUAGE and 2 * account.swapped > account.dropped[reason]:
        return "the columns are the wrong way round: name them with --columns 2,1"
    return _REMEDIES.get(reason, "")


def _against_figures(account: Account) -> list[tuple[int, str, str]]:
    found = []
    figures = account.statistics()
    if figures.pairs and not 0.5 <= figures.length_ratio[1] <= 2:
        text = f"its sentences are {figures.length_ratio[1]:.2f} times as long as the English ones (median)"
        found.append((1, text, "see whether the sides belong together"))
    if figures.english.percentile_95 > _LONG:
        text = f"5 % of the English sentences are over {figures.english.percentile_95:,} characters long"
        found.append((1, text, "a CLIP text tower reads 77 tokens: the rest of a long sentence is not learnt from"))
    return found


def _against_leaks(leaks: LeakReport) -> list[tuple[int, str, str]]:
    if not leaks.total:
        return []
    text = f"{leaks.total:,} of {leaks.captions:,} evaluation captions ({leaks.share:.1%}) are in it"
    return [(2 if leaks.share >= _LEAKS_MATTER else 1, text, "leave them out: kivuko bitext clean ... --against")]
