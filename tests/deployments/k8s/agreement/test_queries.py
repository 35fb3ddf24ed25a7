from __future__ import annotations

import pytest

from deployments.k8s.agreement.queries import metrics_in


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up", {"up"}),
        ('sum by (engine) (rate(vllm:x_total{model_name="a", engine=~"b.*"}[5m]))', {"vllm:x_total"}),
        ("sum(rate(a_total[1m])) without (pod) / on (model_name) group_left(b) c", {"a_total", "c"}),
        ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[$__rate_interval])))", {"a_bucket"}),
        ('a{b="c"} > 0.5 and d offset 5m unless e == bool 1e3', {"a", "d", "e"}),
        ('label_replace(a, "x", "$1", "y", "(.*)") # b', {"a"}),
        ('{__name__="a"}', {"a"}),
        ("max_over_time(a[1h:5m]) * NaN + Inf", {"a"}),
        ("count_values('version', build)", {"build"}),
        ("stageline:answers:rate5m - ${threshold} * $other", {"stageline:answers:rate5m"}),
        ("topk(3, a) + time() - vector(1)", {"a"}),
    ],
)
def test_metrics_of_an_expression(expression: str, names: set[str]) -> None:
    assert metrics_in(expression) == names
