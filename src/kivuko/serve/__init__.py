"""The web application: an index searched over HTTP, and the page to do it with."""

from kivuko.serve.app import create_app
from kivuko.serve.settings import Settings

__all__ = ["Settings", "create_app"]
