"""Sphinx extension: the chapters that have changed run side by side, before the pages are read.

Sphinx reads one page after another, and myst-nb runs a chapter when its page is read.  Here all
chapters without a result in the cache run first, as many at a time as there are cores, and
myst-nb then finds them in the cache.  One that fails is left to it, for its report.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from build_facts import cores
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from myst_nb.core.read import create_nb_reader
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

__all__ = ["run_chapters", "setup"]

LOGGER = logging.getLogger(__name__)


def changed_chapters(
    cache: JupyterCacheAbstract, env: BuildEnvironment, docnames: list[str]
) -> dict[str, NotebookNode]:
    """The notebooks of which the cache has no result, by their paths."""
    found = {}
    for path in map(env.doc2path, docnames):
        text = Path(path).read_text(encoding="utf-8")
        reader = create_nb_reader(path, env.myst_config, env.mystnb_config, text)
        if reader is None:
            continue  # a page without code
        notebook = reader.read(text)
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            found[path] = notebook
    return found


def run_chapters(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Run what has changed, and keep what succeeds."""
    config = env.mystnb_config
    if config.execution_mode != "cache":
        return
    cache = get_cache(config.execution_cache_path)
    waiting = changed_chapters(cache, env, docnames)

    def run(path: str) -> ExecutionResult:
        return single_nb_execution(
            waiting[path],
            cwd=str(Path(path).parent),
            timeout=config.execution_timeout,
            allow_errors=config.execution_allow_errors,
            meta_override=True,
        )

    with ThreadPoolExecutor(cores()) as pool:
        for path, result in zip(waiting, pool.map(run, waiting), strict=True):
            if result.err is None:
                LOGGER.info(f"{path}: executed in {result.time:.1f} s")
                kept = CacheBundleIn(waiting[path], path, data={"execution_seconds": result.time})
                cache.cache_notebook_bundle(kept, check_validity=False, overwrite=True)


def setup(app: Sphinx) -> dict[str, object]:
    """Register the step with Sphinx."""
    app.connect("env-before-read-docs", run_chapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
