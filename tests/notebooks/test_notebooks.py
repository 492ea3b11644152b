"""The notebooks: what is committed is whole, small and of nobody's machine, and it can be made again."""

import base64
import json
import re
import struct
import tempfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST_BYTES = 1_500_000
CELL_TIMEOUT_S = 300
NARROWEST, WIDEST = 600, 1_300  # pixels: legible, and no wider than a page
PNG_START = b"\x89PNG\r\n\x1a\n"
FOLDERS_OF_MACHINES = ("work", "home", "tmp", "root", "Users", "opt", "usr")
MACHINE_PATH = re.compile(r"(?<![\w.~/}-])/(?:" + "|".join(FOLDERS_OF_MACHINES) + r")/|[A-Za-z]:\\")
READING = "**Read off:**"

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def _read(path):
    return json.loads(path.read_text("utf-8"))


def _source(cell):
    return "".join(cell["source"])


def _code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _texts(notebook):
    """What each code cell printed, in order; a kernel may send it in one piece or in several."""
    streams = ([o for o in cell["outputs"] if o["output_type"] == "stream"] for cell in _code_cells(notebook))
    return ["".join("".join(output["text"]) for output in outputs) for outputs in streams]


def _pictures(notebook):
    """The PNG files shown, in order."""
    outputs = [output for cell in _code_cells(notebook) for output in cell["outputs"]]
    encoded = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [base64.b64decode("".join(picture)) for picture in encoded]


def _sections(notebook):
    """The cells of each section: from one second-level heading to the next."""
    sections = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and _source(cell).startswith("## "):
            sections.append([])
        if sections:
            sections[-1].append(cell)
    return sections


def _is_picture_cell(cell):
    return "plt.show()" in _source(cell) or re.search(r"\.plot\(\)$", _source(cell)) is not None


def test_there_are_notebooks():
    assert {"calibrating_a_judge", "choosing_a_threshold", "compare_versions", "error_rates"} <= {
        path.stem for path in NOTEBOOKS
    }


@each_notebook
def test_notebook_is_of_the_current_format_with_little_metadata(path):
    notebook = _read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"] >= 5) == (4, True)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


@each_notebook
def test_every_code_cell_was_run_once_in_order_without_error(path):
    cells = _code_cells(_read(path))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    assert [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"] == []


@each_notebook
def test_every_picture_cell_shows_one_picture_of_a_sensible_size(path):
    cells = [cell for cell in _code_cells(_read(path)) if _is_picture_cell(cell)]
    assert cells
    for cell in cells:
        [picture] = _pictures({"cells": [cell]})
        assert picture.startswith(PNG_START), cell["id"]
        width, height = struct.unpack(">II", picture[16:24])
        assert NARROWEST <= width <= WIDEST, cell["id"]
        assert 300 <= height <= width, cell["id"]


@each_notebook
def test_notebook_is_small(path):
    assert path.stat().st_size < LARGEST_BYTES


@each_notebook
def test_notebook_names_no_path_of_a_machine_and_no_escape_codes(path):
    notebook = _read(path)
    texts = [_source(cell) for cell in notebook["cells"]] + _texts(notebook)
    assert [text for text in texts if MACHINE_PATH.search(text) or "\x1b" in text] == []


@pytest.mark.parametrize("folder", FOLDERS_OF_MACHINES)
def test_the_search_for_paths_finds_them(folder):
    assert MACHINE_PATH.search(f"in '/{folder}/x'")


@each_notebook
def test_every_section_has_a_picture_a_reading_and_a_check_of_its_numbers(path):
    sections = _sections(_read(path))
    assert sections
    for section in sections:
        heading = _source(section[0]).splitlines()[0]
        assert [cell for cell in section if cell["cell_type"] == "code" and _is_picture_cell(cell)], heading
        assert _source(section[-1]).startswith(READING), heading
        checks = [line for cell in section for line in _source(cell).splitlines() if line.startswith("assert ")]
        assert len(checks) >= 3, heading


@pytest.mark.integration  # the extra `notebooks` installs what it needs; half a minute on two cores
@pytest.mark.filterwarnings("default")  # a kernel is sockets and an event loop of other packages
@each_notebook
def test_notebook_runs_in_a_fresh_kernel_and_shows_the_same(path, tmp_path, monkeypatch):
    committed = _read(path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    notebook = _executed(path, tmp_path, monkeypatch)
    made = _pictures(notebook)
    assert len(made) == len(_pictures(committed)) == sum(map(_is_picture_cell, _code_cells(committed)))
    assert [picture for picture in made if not _on_white(picture)] == []
    assert _texts(notebook) == _texts(committed)


@pytest.mark.integration
@pytest.mark.filterwarnings("default")
def test_the_cell_that_asks_openai_asks_it_for_both_versions(tmp_path, monkeypatch):
    from aigate.testing import LoopbackServer

    with LoopbackServer(api_key="key") as server:
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        notebook = _executed(FOLDER / "compare_versions.ipynb", tmp_path, monkeypatch)
    asked = [request.body["model"] for request in server.requests]
    assert {model: asked.count(model) for model in set(asked)} == {"gpt-4o-2024-08-06": 240, "gpt-4o-2024-11-20": 240}
    [cell] = [cell for cell in _code_cells(notebook) if cell["id"] == "openai"]
    assert "gpt-4o/2024-11-20/v1" in cell["outputs"][-1]["data"]["text/html"]


def _executed(path, tmp_path, monkeypatch):
    """The notebook, run in a fresh kernel; an assertion in it that does not hold ends the test."""
    import nbformat
    from nbclient import NotebookClient

    for name, folder in (("IPYTHONDIR", "ipython"), ("JUPYTER_CONFIG_DIR", "jupyter"), ("MPLCONFIGDIR", "matplotlib")):
        monkeypatch.setenv(name, str(tmp_path / folder))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in _code_cells(notebook):
        cell["outputs"] = []
    resources = {"metadata": {"path": str(FOLDER)}}
    patience = {"timeout": CELL_TIMEOUT_S, "startup_timeout": CELL_TIMEOUT_S}
    client = NotebookClient(notebook, kernel_name="python3", resources=resources, **patience)
    with tempfile.TemporaryDirectory() as sockets:  # of short path; a port may be taken before the kernel has it
        kernel = client.create_kernel_manager()
        kernel.transport, kernel.ip = "ipc", f"{sockets}/kernel"
        client.execute()
    return notebook


def _on_white(picture):
    """The corners are opaque white, so that the picture is legible on a dark page too."""
    import io

    from matplotlib.image import imread

    pixels = imread(io.BytesIO(picture), format="png")
    return all((pixels[row, column] == 1.0).all() for row in (0, -1) for column in (0, -1))
