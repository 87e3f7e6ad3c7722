"""Translators over sequence-to-sequence models of ``transformers``: our own, Marian, NLLB, M2M100, loaded by name."""

import re
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from kivuko.encoders.loading import require_hub
from kivuko.encoders.model import quiet
from kivuko.errors import MissingDependencyError, ModelError, UsageError, first_line
from kivuko.files import atomic_path, refuse_foreign
from kivuko.languages import STANDARD_VARIETIES, known_code
from kivuko.languages import language as describe

# Language tokens: NLLB has swh_Latn, mBART-50 sw_KE, M2M100 __sw__ (whose tokenizer calls it sw), Marian >>swh<< or
# >>srp_Cyrl<<, MADLAD <2sw>.
_TOKEN = re.compile(r"([a-z]{3}_[A-Z][a-z]{3}|[a-z]{2}_[A-Z]{2})|__([a-z]{2,3})__|>>([\w-]+)<<|<2([\w-]+)>")
# Codes that mean another language than their registered one, or no registered one. NLLB's Santali is in Ol Chiki (as
# in FLORES-200), whatever its name says; M2M100's ns is Northern Sotho.
_OWN_CODES = {"sat_Beng": "sat-Olck", "__ns__": "nso"}
_ONE_WAY = ("marian", "fsmt")  # kinds of model that translate between two languages or groups without a code
_ENGLISH_GROWTH, _GROWTH = 1.5, 2.0  # see Seq2SeqTranslator; other languages take more subwords a word


@dataclass(frozen=True)
class Route:
    """Settings for one source language."""

    prefix: str = ""  # in front of every text
    source_code: str | None = None  # the tokenizer's own name of the language
    first_token: int | None = None  # that every translation must begin with; None: the model decides


RouteFrom = Callable[[str], Route]  # raises ModelError for a language that the model does not know


class Seq2SeqTranslator:
    """A translator over any model with ``generate`` and its tokenizer.

    ``route`` gives a language's settings. ``growth`` limits a translation's subwords, as a multiple of the longest text
    of its batch (and at least 8 more): otherwise a loop ("very very very ...") runs to the model's limit.
    """

    def __init__(
        self, model: Any, tokenizer: Any, name: str, route: RouteFrom | None = None, *, batch_size: int = 64,
        growth: float = 1.5,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.name, self.batch_size = model.eval(), tokenizer, name, batch_size
        self._growth = growth
        self._route = route or (lambda language: Route())

    def translate(self, texts: list[str], language: str) -> list[str]:
        """Translate into English by beam search; texts of like length are translated together."""
        route = self._route(describe(language).code)
        translations = [""] * len(texts)
        order = sorted((row for row, text in enumerate(texts) if text.strip()), key=lambda row: len(texts[row]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            for row, translation in zip(rows, self._batch([texts[row] for row in rows], route), strict=True):
                translations[row] = translation
        return translations

    def save(self, path: Path) -> None:
        refuse_foreign(path, "config.json", "a model folder", "Choose another place.")
        with atomic_path(path) as temporary:
            self.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)

    @torch.no_grad()
    def _batch(self, texts: list[str], route: Route) -> list[str]:
        if route.source_code is not None:
            self.tokenizer.src_lang = route.source_code
        limit = getattr(self.model.config, "max_position_embeddings", None) or 512
        given = self.tokenizer(
            [route.prefix + text for text in texts], padding=True, truncation=True,
            max_length=min(limit, self.tokenizer.model_max_length), return_tensors="pt",
        ).to(self.model.device)  # fmt: skip
        given.pop("token_type_ids", None)
        forced = {} if route.first_token is None else {"forced_bos_token_id": route.first_token}
        # Measured on the emoji world, a translation is at most six subwords longer than its source.
        read = given["input_ids"].shape[1]
        most = min(self.model.generation_config.max_length or limit, max(read + 8, int(self._growth * read)))
        written = self.model.generate(**given, **forced, max_length=most)
        return [text.strip() for text in self.tokenizer.batch_decode(written, skip_special_tokens=True)]


def source_routes(languages: Collection[str], tagged: bool) -> RouteFrom:
    """Return the routes of a model trained on these languages; tagged, it wants ``>>sw<<`` in front of Swahili."""

    def route(language: str) -> Route:
        if language not in languages:
            raise ModelError(
                f"this translator was trained on {', '.join(languages)}, not {language}: "
                "train one on bitext of that language."
            )
        return Route(prefix=f"{language_tag(language)} " if tagged else "")

    return route


def language_tag(language: str) -> str:
    """Return the token that says which language a source text is in.

    >>> language_tag("sw")
    '>>sw<<'
    """
    return f">>{language}<<"


def load_translator(name_or_folder: str | Path, target: str = "en") -> Seq2SeqTranslator:
    """Load a model that translates into ``target``: ours, OPUS-MT (Marian), NLLB, M2M100, mBART-50, MADLAD."""
    code, text = describe(target).code, str(name_or_folder)
    if (text.startswith((".", "~")) or Path(text).is_absolute()) and not Path(text).expanduser().is_dir():
        raise ModelError(f"{text}: no such model folder. Name a folder or a translation model on the hub.")
    model, tokenizer = _load_seq2seq(text, str(Path(text).expanduser()) if text.startswith("~") else text)
    growth = _ENGLISH_GROWTH if code == "en" else _GROWTH
    return Seq2SeqTranslator(model, tokenizer, Path(text).name, _route(model, tokenizer, text, code), growth=growth)


class _Key(NamedTuple):
    """A language, its usual script where the code names none, and the territory of the code."""

    language: str
    script: str
    territory: str


@dataclass(frozen=True)
class ModelLanguage:
    """A language as one model has it: its ``token``, and its ``code`` in the tokenizer."""

    token: str
    code: str


class ModelLanguages:
    """The languages among a tokenizer's tokens; false where there are none.

    >>> known = ModelLanguages(["swh_Latn", "pes_Arab", "prs_Arab", "zho_Hans", "zho_Hant", "pbt_Arab", "</s>"])
    >>> [known.find(code).code for code in ("sw", "fa", "prs", "zh", "zh-TW", "ps")]
    ['swh_Latn', 'pes_Arab', 'prs_Arab', 'zho_Hans', 'zho_Hant', 'pbt_Arab']
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._languages: list[tuple[_Key, ModelLanguage]] = []
        for token in dict.fromkeys(tokens):
            if code := _code(token):
                with suppress(UsageError):  # a code of the model's own, in no registry
                    self._languages.append((_key(_OWN_CODES.get(token, code)), ModelLanguage(token, code)))

    def __len__(self) -> int:
        return len(self._languages)

    def find(self, code: str, reading: bool = False) -> ModelLanguage | None:
        """Return the language of a BCP 47 code: in the script that it names, else its usual one, else the only one.

        ``reading``: a code of the model's that names no script will do for any. A group of languages without a standard
        variety (ps, ay) stands for its only member that the model has.
        """
        if own := [one for _, one in self._languages if one.code.replace("_", "-") == code]:
            return own[0]
        wanted = _key(code)
        same = [one for one in self._languages if one[0].language == wanted.language]
        if not same and wanted.language not in STANDARD_VARIETIES.values():
            same = [one for one in self._languages if _group(one[0].language) == wanted.language]
            if len({key.language for key, _ in same}) > 1:
                return None
        names_script = wanted.script != describe(wanted.language).script  # as zh-Hant and zh-TW do
        fitting = [one for one in same if one[0].script == wanted.script]
        if not fitting and not names_script and len({key.script for key, _ in same}) == 1:
            fitting = same
        if not fitting and reading:
            fitting = [one for one in same if not re.search("[_-]", one[1].code)]
        # The code's own territory, else none in particular; a token that names its script before one that does not.
        best = max(
            fitting, default=None,
            key=lambda one: (one[0].territory == wanted.territory, not one[0].territory, one[0].script in one[1].code),
        )  # fmt: skip
        return None if best is None else best[1]


def _code(token: str) -> str | None:
    match = _TOKEN.fullmatch(token)
    return next((code for code in match.groups() if code), None) if match else None


def _key(code: str) -> _Key:
    """Return language, script and territory: ("sw", "Latn", "KE") for sw_KE, ("fa", "Arab", "AF") for prs_Arab."""
    described = describe(code.replace("_", "-"))
    primary, *parts = described.code.split("-")
    return _Key(
        primary, described.script, next((part for part in parts if re.fullmatch("[A-Z]{2}|[0-9]{3}", part)), "")
    )


def _group(language: str) -> str | None:
    from langcodes.data_dicts import MACROLANGUAGES

    return MACROLANGUAGES.get(language)


def _load_seq2seq(text: str, source: str) -> tuple[Any, Any]:
    """Return a translation model of ``transformers`` and its tokenizer; ``text`` names it in messages."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    require_hub(source)
    if Path(source).is_dir():
        source = str(Path(source).absolute())  # a relative path may be taken for a hub id
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model = AutoModelForSeq2SeqLM.from_pretrained(source, dtype=torch.float32, trust_remote_code=False)
    except Exception as problem:  # the loading library raises many kinds, all of them the name's fault
        if "sentencepiece" in str(problem).lower():
            raise MissingDependencyError(
                f"{text}: its tokenizer needs SentencePiece. Run: pip install sentencepiece"
            ) from problem
        raise ModelError(
            f"{text}: not a translation model that loads ({first_line(problem)}). "
            "Name an encoder-decoder with its tokenizer."
        ) from problem
    return model, tokenizer


def _route(model: Any, tokenizer: Any, name: str, target: str = "en") -> RouteFrom:
    """Return the route that tells the model the language of the texts, and ``target`` as the one to write."""
    if target == "en" and (own := getattr(model.config, "source_languages", None)):
        return source_routes(own, tagged=language_tag(own[0]) in tokenizer.get_vocab())
    special = [*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens]
    if codes := ModelLanguages(token for token in special if not token.startswith((">>", "<2"))):
        return _coded(codes, tokenizer, name, target)
    vocabulary = tokenizer.get_vocab()
    if madlad := ModelLanguages(token for token in vocabulary if token.startswith("<2")):
        if (written := madlad.find(target)) is None:
            raise ModelError(f"{name}: does not translate into {describe(target).name}: {_no_code(madlad, target)}")
        return lambda language: Route(prefix=f"{written.token} ")
    if model.config.model_type not in _ONE_WAY:
        raise ModelError(
            f"{name}: a {model.config.model_type} model without language codes, so it cannot be set to translate into "
            f"{describe(target).name}. Choose an OPUS-MT, NLLB or M2M100 model."
        )
    return _one_way(tokenizer, vocabulary, name, target)


def _coded(codes: ModelLanguages, tokenizer: Any, name: str, target: str) -> RouteFrom:
    written = codes.find(target)
    if written is None:
        raise ModelError(f"{name}: does not translate into {describe(target).name}: {_no_code(codes, target)}")
    first = tokenizer.convert_tokens_to_ids(written.token)

    def route(language: str) -> Route:
        read = codes.find(language, reading=True)
        if read is None:
            raise ModelError(f"{name}: {_no_code(codes, language)}")
        return Route(source_code=read.code, first_token=first)

    return route


def _no_code(codes: ModelLanguages, language: str) -> str:
    name = describe(language).name
    return f"has no code for {name} ({language}) among its {len(codes)} languages. Choose another model."


def _one_way(tokenizer: Any, vocabulary: Collection[str], name: str, target: str) -> RouteFrom:
    """Return the route of OPUS-MT, whose languages are its own; if it writes several, a tag in front chooses."""
    tags = [token for token in vocabulary if token.startswith(">>") and token.endswith("<<")]
    chosen = ModelLanguages(tags).find(target)
    tag = chosen.token if chosen else None
    named = getattr(tokenizer, "target_lang", None)
    stated = _single(named)
    # A model that names no language is taken for one into English, as most are.
    writes_target = known_code((named or "").replace("_", "-")) == target or (stated or "en") == target.split("-")[0]
    if tag is None and (tags or not writes_target):
        writes = stated or ", ".join(sorted(tag.strip("<>") for tag in tags)[:5]) or "a language that it does not name"
        raise ModelError(f"{name}: translates into {writes}, not {describe(target).name}. Choose another model.")
    source = _single(getattr(tokenizer, "source_lang", None))

    def route(language: str) -> Route:
        if source is not None and source != describe(language).code.split("-")[0]:
            raise ModelError(f"{name}: translates from {source}, not {language}. Choose a model for {language}.")
        return Route(prefix=f"{tag} " if tag else "")

    return route


def _single(code: str | None) -> str | None:
    """Normalize a code that names one language; None for a group such as ``mul`` or ``bnt``, or none at all."""
    primary = (known_code(code or "") or "").split("-")[0]
    # Groups of languages have codes of three letters, as small languages have; only what is sure is checked.
    return primary if len(primary) == 2 or primary == "fil" else None
