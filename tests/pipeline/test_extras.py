"""A missing optional package is one line that names the extra to install, without a traceback."""

from __future__ import annotations

from mathpipe.pipeline.extras import missing_extra


def test_chained_import_error_names_the_extra() -> None:
    """dask.dataframe replaces the error of a missing pandas by its own."""
    error = ImportError("Dask dataframe requirements are not installed")
    error.__cause__ = ModuleNotFoundError("No module named 'pandas'", name="pandas")
    message = str(missing_extra(error))
    assert "needs pandas, which is not installed" in message and "`pip install 'mathpipe[dedupe]'`" in message


def test_other_import_errors_are_not_explained() -> None:
    assert missing_extra(ModuleNotFoundError("No module named 'nonesuch'", name="nonesuch")) is None
