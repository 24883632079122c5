"""What in a log of LaTeX a reader of the PDF would notice."""

import re

MARGIN = 15.0  # points by which a line may run into the margin
# The log is written with lines that are not broken: see `max_print_line` in tools/pdf/__main__.py.
_NOTICED = re.compile(
    r"""^(?:
      !\ .+                                              # errors
    | LaTeX\ Warning:\ (?:Reference|Citation)\ .+undefined.*
    | LaTeX\ Warning:\ Label\ .+\ multiply\ defined.*
    | LaTeX\ Warning:\ Label\(s\)\ may\ have\ changed.*
    | LaTeX\ Warning:\ Float\ too\ large.*
    | pdfTeX\ warning\ \((?:dest|ext4)\).*               # links without, or with two, targets
    | Missing\ character:.*
    )$""",
    re.MULTILINE | re.VERBOSE,
)
_OVERFULL = re.compile(r"^Overfull \\[hv]box \(([\d.]+)pt too (?:wide|high)\).*$", re.MULTILINE)
_PAGES = re.compile(r"^Output written on .+ \((\d+) pages?,", re.MULTILINE)


def log_problems(log: str, margin: float = MARGIN) -> list[str]:
    """Find the lines of a log that report something a reader would notice."""
    found = [(match.start(), match[0]) for match in _NOTICED.finditer(log)]
    wide = [match for match in _OVERFULL.finditer(log) if float(match[1]) > margin]
    found += [(match.start(), match[0]) for match in wide]
    return list(dict.fromkeys(line for _, line in sorted(found)))


def page_count(log: str) -> int:
    """Count the pages that a run of pdflatex wrote."""
    pages = _PAGES.search(log)
    if pages is None:
        raise ValueError("the log tells of no PDF")
    return int(pages[1])
