"""The pages for browsers: files as they are, which ask the API for everything they show.

Knows neither engine nor API: `app` hands `pages()` to the server. No build step, no inline script or style (the CSP
forbids both), and every text from outside is put on the page as text.
"""

from distcrond.web.files import pages

__all__ = ["pages"]
