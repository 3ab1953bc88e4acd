"""The documentation site is strict: what is broken in a page fails the build. ``make docs`` builds the whole site."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
# A line of a page, and what the build says of it.
BROKEN = {
    "[a page](nowhere.md)": r"nowhere\.md",
    "[an anchor](index.md#nowhere)": r"#?nowhere",
    "![a picture](nowhere.png)": r"nowhere\.png",
    "{py:func}`mathpipe.nowhere`": r"mathpipe\.nowhere",
    "[a record](results/nowhere.json)": r"results/nowhere\.json",
}


@pytest.mark.slow
def test_what_is_broken_fails_the_build(tmp_path: Path) -> None:
    """Each broken line is named with its own line number."""
    for name in ("conf.py", "generated_text.py"):
        shutil.copy(DOCS / name, tmp_path / name)
    (tmp_path / "_static").mkdir()
    (tmp_path / "index.md").write_text("# Title\n\n" + "\n\n".join(BROKEN) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", str(tmp_path)]
    build = subprocess.run([*command, str(tmp_path / "html")], capture_output=True, text=True, check=False)
    assert build.returncode == 1, build.stdout + build.stderr
    for number, pattern in enumerate(BROKEN.values()):
        assert re.search(rf"index\.md:{3 + 2 * number}: WARNING: .*{pattern}", build.stderr), build.stderr


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = re.findall(r"^([\w/-]+)$", (DOCS / "index.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    pages = {
        path.relative_to(DOCS).with_suffix("").as_posix() for kind in ("*.md", "*.ipynb") for path in DOCS.rglob(kind)
    }
    assert pages - {"index"} == set(contents)
