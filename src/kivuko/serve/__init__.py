"""The web application: an index searched over HTTP, and the page to do it with."""
