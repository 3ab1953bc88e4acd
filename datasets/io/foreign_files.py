"""Files that other programs leave in directories: file managers, Spark, archivers, version control."""

from __future__ import annotations

_NAMES = frozenset(
    {
        *(".ds_store", ".localized", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),  # file managers
        *("_success", "_committed", "_started", "_metadata", "_common_metadata"),  # Spark and Parquet writers
        *(".gitignore", ".gitattributes", ".gitkeep", ".keep", ".dvcignore", ".dvc"),
        *(".spotlight-v100", ".trashes", ".fseventsd", "__macosx", "lost+found", ".ipynb_checkpoints", "@eadir"),
    }
)
_PREFIXES = ("._", ".nfs", ".smbdelete", ".fuse_hidden", "_committed_", "_started_")
_SUFFIXES = (".crc",)


def is_foreign(name: str) -> bool:
    """Whether a file or folder of this name belongs to another program, and says nothing about a directory that holds it.

    >>> is_foreign("Thumbs.db"), is_foreign("._00000.parquet"), is_foreign("00000.parquet")
    (True, True, False)
    """
    lower = name.lower()
    is_checksum = lower.startswith(".") and lower.endswith(_SUFFIXES)  # of Hadoop: .00000.parquet.crc
    return lower in _NAMES or lower.startswith(_PREFIXES) or is_checksum
