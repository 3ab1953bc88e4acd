"""Commands of ``mathpipe``: ``<command>.py``, ``-`` written ``_`` (``import_.py``: ``import`` is a keyword)."""
