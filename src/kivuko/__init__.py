"""Kivuko carries an English image-search model into another language by optimal transport.

Everything public is imported on first use, so that ``import kivuko`` stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"
