from __future__ import annotations

from deployments.k8s.dockerfiles import read_image

TEXT = """\
# syntax=docker/dockerfile:1
ARG BASE=debian:13
FROM ${BASE} AS build
RUN make && \\
    USER=root make install
ENV PATH=/build/bin:$PATH
USER 0

FROM --platform=linux/amd64 debian:13-slim AS runtime
ENV PATH="/opt/stageline/bin:$PATH" \\
    STAGELINE_CACHE=/var/cache/stageline
EXPOSE 8000 8265/tcp
# USER nobody

FROM runtime
USER 10001:10001
"""


def test_the_last_stage_counts_with_what_it_begins_from() -> None:
    image = read_image(TEXT, "cpu")
    assert image.user == "10001:10001"
    assert image.ports == (8000, 8265)
    assert image.env == {"PATH": "/opt/stageline/bin:$PATH", "STAGELINE_CACHE": "/var/cache/stageline"}


def test_without_a_user_it_is_root() -> None:
    assert read_image("FROM debian:13\nRUN true\n", "x").user == "root"
