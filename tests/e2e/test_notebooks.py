"""The notebooks: kept without outputs, and run from the first cell to the last."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
REASON = "nbclient and ipykernel are not installed: make test-slow installs them"


def test_notebooks_are_kept_without_outputs():
    """Outputs would be stale, and their pictures large."""
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        text = path.read_text()
        assert '"outputs": []' in text and '"execution_count": null' in text
        assert "image/png" not in text and "output_type" not in text
        assert path.stat().st_size < 20_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason=REASON)
    nbformat = pytest.importorskip("nbformat", reason=REASON)
    pytest.importorskip("ipykernel", reason=REASON)
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=place).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    said = "".join(output["text"] for output in outputs if output.get("name") == "stderr")
    assert "Traceback" not in said
