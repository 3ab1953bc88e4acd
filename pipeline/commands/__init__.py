"""One module for each command: ``<command>.py``, with ``_`` for ``-`` (``import_.py``, since ``import`` is a keyword)."""
