"""An S3 server that cuts off what it sends, or lists what it held earlier. Both wrap the application of the server of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, quote
from xml.sax.saxutils import escape

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class HalfBodies:
    """Answers GET with the first half of each body. ``honest``: its header gives the length of the half, else that of the whole."""

    def __init__(self, application: Application, honest: bool) -> None:
        self.application, self.honest, self.active = application, honest, True

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not self.active or environ["REQUEST_METHOD"] != "GET":
            return self.application(environ, start_response)
        answers: list[Any] = []
        body = b"".join(self.application(environ, lambda *answer: answers.extend(answer)))
        half = body[: len(body) // 2]
        status, headers = answers[:2]
        if self.honest:
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
            headers.append(("Content-Length", str(len(half))))
        start_response(status, headers)
        return [half]


class StaleListings:
    """Answers listings from ``sizes`` (bytes of each object), whatever the bucket holds now."""

    def __init__(self, application: Application, sizes: dict[str, int]) -> None:
        self.application, self.sizes, self.num_listings = application, sizes, 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if environ["REQUEST_METHOD"] != "GET" or query.get("list-type") != ["2"]:
            return self.application(environ, start_response)
        self.num_listings += 1
        body = self._listing(query.get("prefix", [""])[0], query.get("delimiter", [""])[0]).encode()
        start_response("200 OK", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    def _listing(self, prefix: str, delimiter: str) -> str:
        files, folders = [], dict[str, None]()
        for name in sorted(name for name in self.sizes if name.startswith(prefix)):
            head, separator, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
            if separator:
                folders[prefix + head + separator] = None
            else:
                files.append(name)
        contents = "".join(
            f"<Contents><Key>{quote(name)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>old</ETag>"
            f"<Size>{self.sizes[name]}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for name in files
        )
        common = "".join(f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>" for name in folders)
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name><Prefix>{escape(quote(prefix))}</Prefix><Delimiter>{escape(quote(delimiter))}</Delimiter>"
            f"<KeyCount>{len(files) + len(folders)}</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
            f"<IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"
        )
