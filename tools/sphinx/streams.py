"""Sphinx extension: what a cell prints stands on its page to the letter.

How a kernel cuts its stream into messages changes from run to run.  myst-nb ends each piece with
one line break when it joins them, so that an empty line at a cut is lost, and a line that is
printed in two parts may be broken; it offers no other way, so its function is replaced.
"""

import myst_nb.core.render
from nbformat import NotebookNode, from_dict
from sphinx.application import Sphinx


def merged_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs of a cell with one stream of each name, its pieces joined as they are."""
    merged, streams = [], {}
    for output in map(from_dict, outputs):
        name = output.get("name")
        if name in streams:
            streams[name].text += output.text
            continue
        merged.append(output)
        if output.output_type == "stream":
            streams[name] = output
    return merged


def setup(app: Sphinx) -> dict[str, object]:
    """Replace the function of myst-nb."""
    myst_nb.core.render.coalesce_streams = merged_streams
    return {"parallel_read_safe": True, "parallel_write_safe": True}
