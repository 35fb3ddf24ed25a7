from __future__ import annotations

import yaml

from deployments.k8s.yaml_text import dump


def test_lines_keys_and_words_stay_as_they_are() -> None:
    data = {"b": "one\ntwo\n", "a": ["n", "no", "1", 1, True, "ä"]}
    text = dump(data)
    assert text.startswith("b: |\n  one\n  two\n")
    assert "- 'n'\n- 'no'\n- '1'\n- 1\n- true\n- ä\n" in text
    assert yaml.safe_load(text) == data
