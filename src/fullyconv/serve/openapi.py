"""What the OpenAPI document says of requests and answers beyond the functions' own arguments."""

from __future__ import annotations

from typing import Any

from fullyconv.serve.problems import MEDIA_TYPE

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and what to do, one sentence."},
    },
}


def _problem(description: str, example: str, status: int) -> dict[str, Any]:
    said = {"type": "about:blank", "title": description, "status": status, "detail": example}
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": _PROBLEM, "example": said}},
    }


_RETRY = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
_STATES: dict[int, tuple[str, str]] = {
    400: ("Bad Request", "the form (multipart/form-data) is cut short: its last line is missing"),
    401: ("Unauthorized", "this server wants a token: send the header Authorization: Bearer TOKEN"),
    406: ("Not Acceptable", "Accept is 'text/html'; there are application/json, image/png and ..."),
    408: ("Request Timeout", "the request was not complete after 30 seconds"),
    413: ("Content Too Large", "20000 x 20000 pixels are more than the 30,000,000 that are taken"),
    415: ("Unsupported Media Type", "Content-Type is 'text/plain'; send the picture as image/..."),
    422: ("Unprocessable Content", "the picture: this is not a picture in any format known here"),
    429: ("Too Many Requests", "64 pictures are waiting already; come again later"),
    503: ("Service Unavailable", "the picture had to wait for more than 60 seconds"),
    504: ("Gateway Timeout", "labelling took more than 60 seconds"),
}


def problems(*states: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of answers of these states."""
    said: dict[int | str, dict[str, Any]] = {}
    for status in states:
        said[status] = _problem(*_STATES[status], status)
        if status in (429, 503):
            said[status]["headers"] = _RETRY
    return said


_CATEGORY = {
    "type": "object",
    "required": ["id", "name", "color"],
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string"},
        "color": {"type": "string", "pattern": "^#[0-9a-f]{6}$"},
        "pixels": {"type": "integer"},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
    },
}
_NUMBERS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_RUNS = {
    "type": "object",
    "description": "The label map row by row: value, and how many pixels have it.",
    "required": ["values", "counts"],
    "properties": {"values": _NUMBERS, "counts": _NUMBERS},
}
_RLE = {
    "type": "object",
    "description": "COCO's uncompressed run lengths, column by column, of each class that occurs.",
    "additionalProperties": {
        "type": "object",
        "properties": {"size": _NUMBERS, "counts": _NUMBERS},
    },
}
_POLYGONS = {
    "type": "object",
    "description": "Outlines of each class that occurs, along the edges of pixels: one ring for "
    "each region, its holes joined to it by a line there and back.",
    "additionalProperties": {"type": "array", "items": {"type": "array", "items": _NUMBERS}},
}
_LABELS = {
    "type": "object",
    "required": ["model", "width", "height", "seconds", "categories"],
    "properties": {
        "model": {"type": "string"},
        "width": {"type": "integer", "description": "Of the picture as people see it."},
        "height": {"type": "integer"},
        "seconds": {"type": "number", "description": "Decoding and labelling, without the queue."},
        "categories": {"type": "array", "items": _CATEGORY},
        "runs": _RUNS,
        "rle": _RLE,
        "polygons": _POLYGONS,
    },
}
_ROAD = {"id": 0, "name": "road", "color": "#804080"}
_EXAMPLE = {
    "model": "camvid",
    "width": 3,
    "height": 2,
    "seconds": 0.051,
    "categories": [_ROAD | {"pixels": 4, "share": 0.6667}],
    "runs": {"values": [255, 0], "counts": [2, 4]},
}
_BINARY = {"type": "string", "format": "binary"}

PREDICT: dict[str, Any] = {
    "summary": "Label every pixel of a picture",
    "description": "Accept decides what comes back: application/json (also when nothing is asked "
    "for), image/png, or application/zip with mask.png, overlay.png and labels.json.",
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "image/*": {"schema": _BINARY},
                "application/octet-stream": {"schema": _BINARY},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {"image": _BINARY},
                    }
                },
            },
        }
    },
    "responses": {
        200: {
            "description": "The labels",
            "content": {
                "application/json": {"schema": _LABELS, "example": _EXAMPLE},
                "image/png": {"schema": _BINARY},
                "application/zip": {"schema": _BINARY},
            },
        },
        **problems(400, 406, 408, 413, 415, 422, 429, 503, 504),
    },
}
MODEL: dict[str, Any] = {
    "summary": "What the model is, and what the server takes",
    "responses": {
        200: {
            "description": "The model",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": [
                            "name",
                            "categories",
                            "preprocessing",
                            "licence",
                            "limits",
                            "seconds_per_megapixel",
                        ],
                        "properties": {
                            "name": {"type": "string"},
                            "categories": {"type": "array", "items": _CATEGORY},
                            "preprocessing": {"type": "object"},
                            "licence": {"type": "string"},
                            "limits": {"type": "object"},
                            "seconds_per_megapixel": {"type": "number"},
                        },
                    },
                    "example": {
                        "name": "camvid",
                        "categories": [_ROAD],
                        "preprocessing": {"order": "RGB", "scale": 1.0},
                        "licence": "weights BSD-2-Clause",
                        "limits": {"bytes": 20000000, "pixels": 30000000, "queue": 64},
                        "seconds_per_megapixel": 0.3,
                    },
                }
            },
        }
    },
}
METRICS: dict[str, Any] = {
    "summary": "Counters, in Prometheus' text format",
    "responses": {200: {"description": "The counters", "content": {"text/plain": {}}}},
}
