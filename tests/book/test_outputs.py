"""What is wrong with an output is seen, whatever the kernel replied; sound outputs pass."""

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools.outputs import TRACEBACK, notebook_problems

PICTURE = new_output("display_data", {"image/svg+xml": "<svg/>", "text/plain": "<Figure size 1>"})
TEXT = new_output("stream", name="stdout", text="half at 1.9\n")


@pytest.mark.parametrize(
    ("source", "outputs"),
    [("x = 1", []), ("print(1)", [TEXT]), ("plt.show()", [PICTURE]), ("%magic", [])],
)
def test_sound_outputs(source, outputs):
    assert notebook_problems(new_notebook(cells=[new_code_cell(source, outputs=outputs)])) == []


@pytest.mark.parametrize(
    ("source", "output", "complaint"),
    [
        ("f()", new_output("error", ename="ValueError", evalue="v"), "an error: ValueError: v"),
        ("f()", new_output("stream", name="stderr", text="w"), "on stderr: w"),
        (
            "f()",
            new_output("stream", name="stdout", text=f"{TRACEBACK}\nE: v"),
            "a traceback: E: v",
        ),
        ("f()", new_output("display_data", {"text/plain": f"{TRACEBACK}\nE"}), "a traceback: E"),
        ("f()", new_output("display_data", {"text/plain": "<Figure size 1>"}), "without its pic"),
        ("plt.show()", TEXT, "a picture is missing"),
    ],
)
def test_each_fault_names_its_cell(source, output, complaint):
    cells = [new_code_cell("x = 1"), new_code_cell(source, outputs=[output])]
    problems = notebook_problems(new_notebook(cells=cells))
    assert len(problems) == 1
    assert problems[0].startswith("code cell 2: ")
    assert complaint in problems[0]


def test_a_figure_directive_asks_for_a_picture():
    cell = new_code_cell("draw()", metadata={"mystnb": {"figure": {"name": "fig-a"}}})
    assert notebook_problems(new_notebook(cells=[cell])) == [
        "code cell 1 (fig-a): a picture is missing"
    ]
