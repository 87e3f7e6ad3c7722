"""Image-caption sets: published ones, a user's own files, and webdataset shards."""

from kivuko.datasets.captions.caption_set import (
    EVERY_CAPTION,
    FIRST_CAPTION,
    PROTOCOLS,
    CaptionSet,
    Image,
    LanguageCaptions,
    choose_languages,
)
from kivuko.datasets.captions.formats import NAMES, is_caption_spec, open_caption_set

__all__ = [
    "EVERY_CAPTION",
    "FIRST_CAPTION",
    "NAMES",
    "PROTOCOLS",
    "CaptionSet",
    "Image",
    "LanguageCaptions",
    "choose_languages",
    "is_caption_spec",
    "open_caption_set",
]
