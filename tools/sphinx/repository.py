"""Sphinx extension: links to the repository, and a button that launches a page on Binder.

All of them follow from one address, `repository_url` in `_config.yml`; as long as it is empty
nothing is shown.
"""

from sphinx.application import Sphinx
from sphinx.config import Config

BUTTONS = ("use_repository_button", "use_issues_button", "use_edit_page_button")


def show_links(app: Sphinx, config: Config) -> None:
    """Switch all buttons that lead to the repository on or off."""
    options = config.html_theme_options
    address = options.get("repository_url")
    options.update(dict.fromkeys(BUTTONS, bool(address)))
    if not address:
        options.pop("repository_url", None)
        options.pop("launch_buttons", None)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx, before the theme reads its options."""
    app.connect("config-inited", show_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
