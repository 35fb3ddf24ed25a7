"""The bodies of `/v1/embeddings` (OpenAI's) and `/embed` (text-embeddings-inference's)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from deployments.front_door.schemas.generation import MAX_COUNT
from deployments.front_door.schemas.inputs import EncoderBody, Items, TeiBody

Dimensions = Annotated[int, Field(ge=1, le=MAX_COUNT)]


class EmbeddingsBody(EncoderBody):
    """`dimensions` keeps the first so many values, brought to length 1 again where the model normalizes."""

    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Dimensions | None = None

    ignored: ClassVar[frozenset[str]] = frozenset({"request_id", "user"})
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "cache_salt": (),
        "embed_dtype": ("float32",),
        "endianness": ("native", "little"),
        "messages": (),
        "mm_processor_kwargs": ({},),
        "padding": ("do_not_pad",),
        "use_activation": (True,),
    }


class EmbedBody(TeiBody):
    """`inputs` is a text, a list of texts, token ids, or a list of lists of them."""

    inputs: Items
    normalize: bool = True
    dimensions: Dimensions | None = None

    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {"prompt_name": ()}
