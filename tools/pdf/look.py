"""How the PDF looks: paper, type, title page; the rest of the style is in style.tex."""

import hashlib
from pathlib import Path

import yaml

STYLE = Path(__file__).with_name("style.tex")
LICENCES = {"CC-BY-4.0": "text and figures under CC BY 4.0", "MIT": "code under MIT"}
FONTS = r"\usepackage{mathpazo}\usepackage{tgpagella,tgheros}\renewcommand{\ttdefault}{txtt}"
LINKS = "{rgb}{0,0.27,0.45}"
LAYOUT = {
    "hmargin": "{30mm,30mm}",
    "vmargin": "{28mm,30mm}",
    "verbatimwithframe": "false",
    "verbatimsep": "4pt",
    "pre_border-width": "0pt",
    "pre_border-radius": "0pt",
    "VerbatimColor": "{gray}{0.955}",
    "TitleColor": "{rgb}{0,0,0}",
    "InnerLinkColor": LINKS,
    "OuterLinkColor": LINKS,
}
_SPECIAL = {ord(c): rf"\{c}" for c in "&%$#_{}"} | {
    ord("\\"): r"\textbackslash{}",
    ord("~"): r"\textasciitilde{}",
    ord("^"): r"\textasciicircum{}",
}


def title_page(root: Path) -> str:
    r"""Definitions for the title page, from CITATION.cff and the lock."""
    about = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    people = [a.get("name") or f"{a['given-names']} {a['family-names']}" for a in about["authors"]]
    facts = {
        "Title": about["title"],
        "Authors": ", ".join(people),
        "Version": about["version"],
        "Date": str(about["date-released"]),
        "Licences": ", ".join(LICENCES[name] for name in LICENCES if name in about["license"]),
        "Lock": hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest(),
        "Abstract": " ".join(about["abstract"].split()),
        "Keywords": ", ".join(about["keywords"]),
    }
    lines = [rf"\newcommand{{\book{name}}}{{{t.translate(_SPECIAL)}}}" for name, t in facts.items()]
    return "\n".join(lines)


def latex_settings(root: Path) -> dict[str, object]:
    """Settings of Sphinx for the LaTeX of the book."""
    return {
        "latex_elements": {
            "papersize": "a4paper",
            "pointsize": "10pt",
            "extraclassoptions": "oneside,openany",
            "sphinxsetup": ",".join(f"{key}={value}" for key, value in LAYOUT.items()),
            "fontpkg": FONTS,
            "fncychap": "",
            "figure_align": "htbp",
            "extrapackages": r"\usepackage[font=small,labelfont=bf,margin=8pt]{caption}",
            "preamble": f"{title_page(root)}\n{STYLE.read_text(encoding='utf-8')}",
            "maketitle": r"\booktitlepage",
            "tableofcontents": r"{\hypersetup{linkcolor=black}\sphinxtableofcontents}",
            "printindex": "",
        },
        "latex_domain_indices": False,
        "latex_table_style": ["booktabs"],
        # Figures are SVG and tables HTML, which myst-nb does not keep for LaTeX of its own accord.
        "nb_mime_priority_overrides": [
            ("latex", "image/svg+xml", 15),
            ("latex", "text/html", 55),
        ],
    }
